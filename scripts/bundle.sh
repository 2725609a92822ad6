#!/usr/bin/env bash
# Builds Facet and makes of it a folder that runs on other machines, and an archive of the folder: x86-64 Linux with
# glibc 2.38 or newer, and for a GPU NVIDIA's driver, CUDA 13 and cuDNN; so one builds here and measures there.
#
#   scripts/bundle.sh [--output FOLDER]       default: out/facet-bundle, and with it out/facet-bundle.tar.zst
#
# The folder has the command, the tests that run on a device with their golden files, what compares with PyTorch,
# gpu_check.sh, and every shared library but glibc's and CUDA's. Without CUDA here it is made without the GPU's module.
# An archive of more than 50 MiB is an error.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
newest_glibc=2.38
most_bytes=$((50 * 1024 * 1024))

say() { printf 'bundle: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

output=$root/out/facet-bundle
case ${1:-} in
  '') ;;
  --output)
    [[ -n ${2:-} && $# == 2 ]] || fail "--output takes a folder"
    output=$2
    ;;
  *)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
for tool in zstd:zstd objdump:binutils strip:binutils; do
  command -v "${tool%:*}" >/dev/null ||
    fail "${tool%:*} is not installed; it is in the package ${tool#*:}: apt-get install ${tool#*:}"
done
if [[ -e $output && ! -e $output/gpu_check.sh && -n $(ls -A "$output") ]]; then
  fail "$output has something else in it; name an empty folder, or one of an earlier bundle"
fi

"$root/scripts/build.sh" -- facet runtime_tests training_tests
programs=(facet runtime_tests training_tests)
module=$root/build/lib/facet/libfacet_cuda.so
cuda=yes
if [[ $(cmake --build "$root/build" --target help) == *facet_cuda_module* ]]; then
  "$root/scripts/build.sh" -- facet_cuda_module cuda_tests cuda_run_tests
  programs+=(cuda_tests cuda_run_tests)
else
  cuda=no
  say "no CUDA 13 with cuDNN was found here, so the bundle has no module for the GPU"
fi

rm -rf "$output" "$output.tar.zst"
mkdir -p "$output"/{bin,lib,tests,bench}
output=$(cd "$output" && pwd)
cp "$root/scripts/gpu_check.sh" "$output/"  # first: by it the folder is known, should the rest fail
binaries=()
for program in "${programs[@]}"; do
  strip -o "$output/bin/$program" "$root/build/bin/$program"
  binaries+=("$output/bin/$program")
done
if [[ $cuda == yes ]]; then
  mkdir "$output/lib/facet"
  strip --strip-unneeded -o "$output/lib/facet/libfacet_cuda.so" "$module"
  binaries+=("$output/lib/facet/libfacet_cuda.so")
fi
"$root/scripts/shared_libraries.sh" needed "${binaries[@]}" | while IFS= read -r library; do
  cp -L "$library" "$output/lib/"
done
cp -R "$root/tests/golden" "$root/tests/data" "$output/tests/"
mkdir "$output/bench/peers"
cp "$root"/bench/*.py "$output/bench/"
cp "$root"/bench/peers/*.{py,txt} "$output/bench/peers/"
mkdir "$output/gpu_check"
cp "$root"/scripts/gpu_check/*.py "$output/gpu_check/"
for launcher in run facet; do cp "$root/scripts/bundle/$launcher.sh" "$output/$launcher"; done

libraries=("$output"/lib/*.so*)
outside=$("$root/scripts/shared_libraries.sh" outside "$output/lib" "${binaries[@]}" "${libraries[@]}")
[[ -z $outside ]] || fail "these are needed and not in the bundle:"$'\n'"$outside"
read -r glibc by < <("$root/scripts/shared_libraries.sh" glibc "${binaries[@]}" "${libraries[@]}")
if [[ $(printf '%s\n' "$glibc" "$newest_glibc" | sort -V | tail -n 1) != "$newest_glibc" ]]; then
  fail "${by#"$output"/} needs glibc $glibc, newer than $newest_glibc; build where the system is older"
fi

commit=$(git -C "$root" describe --always --dirty 2>/dev/null || echo 'sources without git')
sed -e "s/@DATE@/$(date -u +%Y-%m-%d)/; s/@COMMIT@/$commit/; s/@GLIBC@/$glibc/" "$root/scripts/bundle/README.in" \
  >"$output/README"
say "packing"
tar -C "$(dirname "$output")" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$(basename "$output")" |
  zstd -q -12 -T0 -o "$output.tar.zst"
bytes=$(stat -c %s "$output.tar.zst")
if ((bytes > most_bytes)); then
  du -ak "$output" | sort -rn | head -n 25 >&2
  fail "$output.tar.zst has $bytes bytes, and $most_bytes are allowed; the largest files are above, in KiB"
fi
say "$output.tar.zst: $((bytes / 1024)) KiB, unpacked $(du -sk "$output" | cut -f 1) KiB; glibc $glibc (${by#"$output"/})"
