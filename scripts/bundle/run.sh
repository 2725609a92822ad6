#!/bin/sh
# Runs a program of this bundle with the bundle's libraries and, where there are any, CUDA's. Only that program sees
# them: nothing is installed, and no variable is left behind.
#
#   ./run PROGRAM ARGUMENT...    bin/PROGRAM; ./facet ... is short for ./run facet ...
#   ./run --libraries            CUDA's libraries as they were found, "NAME PATH" a line
#
# CUDA's libraries are looked for in $FACET_CUDA_LIBRARIES (folders, with colons), in $LD_LIBRARY_PATH, by the loader's
# own list, in /usr/local/cuda*, and where pip puts them for the python3 on the PATH.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
wanted='libcuda.so.1 libcudnn.so.9 libcublasLt.so.13 libnvrtc.so.13'
newline='
'

given() { printf '%s' "${FACET_CUDA_LIBRARIES:-}:${LD_LIBRARY_PATH:-}" | tr ':' '\n'; }

# The folders to guess; asked once, and only if something is missing, as it starts python3.
guesses() {
  for folder in /usr/local/cuda*/lib64 /usr/local/cuda*/lib /usr/local/cuda*/targets/x86_64-linux/lib \
    /usr/local/nvidia/lib64 /usr/local/nvidia/lib /usr/lib64-nvidia /usr/lib/wsl/lib; do
    printf '%s\n' "$folder"
  done
  python3 -c 'import glob, sys
for path in sys.path: print("\n".join(glob.glob(path + "/nvidia/*/lib")))' 2>/dev/null || true
}

# first_with LIBRARY FOLDERS: its path in the first of the folders that has it.
first_with() {
  printf '%s\n' "$2" | while IFS= read -r folder; do
    if [ -n "$folder" ] && [ -e "$folder/$1" ]; then
      printf '%s\n' "$folder/$1"
      break
    fi
  done
}

by_user=$(given)
by_loader=$({ ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null || true; } | grep x86-64 || true)
by_guess=
libraries=
path=$here/lib
# add FOLDER: to what the program's loader looks in, once.
add() {
  case ":$path:" in
    *":$1:"*) ;;
    *) path=$path:$1 ;;
  esac
}
for library in $wanted; do
  found=$(first_with "$library" "$by_user")
  if [ -n "$found" ]; then
    add "$(dirname "$found")"
  else
    found=$(printf '%s\n' "$by_loader" | sed -n "s|^[[:space:]]*$library .*=> ||p" | head -n 1)
    if [ -z "$found" ]; then
      if [ -z "$by_guess" ]; then by_guess=$(guesses); fi
      found=$(first_with "$library" "$by_guess")
      if [ -n "$found" ]; then add "$(dirname "$found")"; fi
    fi
  fi
  libraries=$libraries$library' '${found:-not found}$newline
done

if [ "${1:-}" = --libraries ]; then
  printf '%s' "$libraries"
  exit 0
fi
if [ $# -eq 0 ] || [ ! -x "$here/bin/$1" ]; then
  printf 'run: name a program: %s\n' "$(cd "$here/bin" && echo *)" >&2
  exit 2
fi
program=$here/bin/$1
shift
export LD_LIBRARY_PATH="$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export FACET_TEST_DATA="$here/tests" FACET_COMMAND="$here/facet"
exec "$program" "$@"
