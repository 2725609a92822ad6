#!/usr/bin/env bash
# Builds Facet; the command is then build/bin/facet. Prints nothing but errors when nothing is to do.
#
#   scripts/build.sh [--debug | --sanitize] [-- TARGET...]
#
#   --debug      no optimisation, in build-debug/
#   --sanitize   address and undefined-behaviour sanitizers, in build-sanitize/
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

build=$root/build
options=(-DCMAKE_BUILD_TYPE=Release)
targets=()
while (($# > 0)); do
  case $1 in
    --debug)
      build=$root/build-debug
      options=(-DCMAKE_BUILD_TYPE=Debug)
      ;;
    --sanitize)
      build=$root/build-sanitize
      # The compiler warns of more, and wrongly, in instrumented code. GCC 12 gives the stack that
      # detects use after return 32 bytes of alignment where AVX-512 needs 64 (GCC bug 110027): off.
      options=(-DCMAKE_BUILD_TYPE=RelWithDebInfo -DFACET_WERROR=OFF
        "-DCMAKE_CXX_FLAGS=-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer --param=asan-use-after-return=0")
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    --)
      shift
      targets=("$@")
      break
      ;;
    *)
      printf 'build: unknown option %s\n\n' "$1" >&2
      usage >&2
      exit 2
      ;;
  esac
  shift
done

"$root/scripts/setup.sh"

# A configuration that stopped half-way leaves a cache without build files: configure again.
if [[ ! -e $build/build.ninja && ! -e $build/Makefile ]]; then
  generator=()
  if command -v ninja >/dev/null; then generator=(-G Ninja); fi
  echo "build: configuring ${build#"$root"/}" >&2
  if ! output=$(cmake -S "$root" -B "$build" "${generator[@]}" "${options[@]}" 2>&1); then
    printf '%s\n' "$output" >&2
    exit 1
  fi
fi

arguments=()
if ((${#targets[@]})); then arguments=(--target "${targets[@]}"); fi
cmake --build "$build" --parallel "$(nproc)" "${arguments[@]}" |
  { grep -vE '^ninja: (no work to do|Entering directory)|Re-checking globbed directories|^\[[ 0-9]+%\] Built target ' || true; }
