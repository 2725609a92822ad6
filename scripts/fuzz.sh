#!/usr/bin/env bash
# Builds the programs of tests/fuzz with the address and undefined-behaviour sanitizers and runs each for a while.
#
#   scripts/fuzz.sh [--seconds N] [--runs N] [--libfuzzer] [TARGET...]
#
#   --seconds    for one target at most (default: 5)
#   --runs       changed inputs for one target at most (default: as many as the time allows)
#   --libfuzzer  with clang and its libFuzzer (packages clang, libclang-rt-dev) instead of g++ and the driver beside
#                the targets
#
# An input that is a fault is kept as build-fuzz/TARGET-crash; run it again with build-fuzz/bin/fuzz_TARGET FILE -runs=0.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

seconds=5
runs=
compiler=()
limits=()
build=$root/build-fuzz
targets=()
while (($# > 0)); do
  case $1 in
    --seconds) seconds=$2; shift ;;
    --runs) runs=$2; shift ;;
    --libfuzzer)
      build=$root/build-libfuzzer
      compiler=(-DCMAKE_CXX_COMPILER=clang++)
      limits=(-malloc_limit_mb=64 -print_final_stats=1)
      ;;
    -*)
      sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
    *) targets+=("$1") ;;
  esac
  shift
done

"$root/scripts/setup.sh"

flags='-O0 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'
if [[ ! -e $build/build.ninja && ! -e $build/Makefile ]]; then
  generator=()
  if command -v ninja >/dev/null; then generator=(-G Ninja); fi
  if ! output=$(cmake -S "$root" -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=None -DFACET_WERROR=OFF \
    -DFACET_TESTS=OFF -DFACET_FUZZ=ON "${compiler[@]}" "-DCMAKE_CXX_FLAGS=$flags" 2>&1); then
    printf '%s\n' "$output" >&2
    exit 1
  fi
fi
goals=(fuzz)
if ((${#targets[@]})); then goals=(make_seeds "${targets[@]/#/fuzz_}"); fi
cmake --build "$build" --parallel "$(nproc)" --target "${goals[@]}" | { grep -E '^FAILED|error:' || true; }

seeds=$build/seeds
rm -rf "$seeds"
"$build/bin/make_seeds" "$seeds" "$root/tests" /usr/share/libonnx-testdata/data
if ((${#targets[@]} == 0)); then
  for program in "$build"/bin/fuzz_*; do targets+=("${program##*/fuzz_}"); done
fi
# As many at a time as there are cores, each with its output in one piece.
fuzz_one() {
  local target=$1 output
  # Reading needs few bytes to go wrong, and memory is judged by small files.
  output=$("$build/bin/fuzz_$target" "-max_total_time=$seconds" "-runs=${runs:-1000000000}" -seed=1 -max_len=8192 \
    "${limits[@]}" "-artifact_prefix=$build/$target-" "$seeds/$target" 2>&1) && { printf '%s\n' "$output"; return 0; }
  printf '%s\nfuzz: %s has a fault\n' "$output" "$target" >&2
  return 1
}
failed=0
running=0
for target in "${targets[@]}"; do
  if ((running == $(nproc))); then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz_one "$target" &
  running=$((running + 1))
done
while ((running-- > 0)); do wait -n || failed=1; done
exit $failed
