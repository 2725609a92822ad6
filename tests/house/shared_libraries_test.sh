#!/usr/bin/env bash
# scripts/shared_libraries.sh on a program with a library of its own and with one of CUDA's.
#
#   shared_libraries_test.sh COMPILER
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
script=$here/../../scripts/shared_libraries.sh
if ! command -v objdump >/dev/null; then
  echo 'SKIPPED: objdump is not installed (package binutils)'
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

# expect WHAT FOUND REGEX
expect() {
  if [[ ! $2 =~ $3 ]]; then
    printf 'FAIL: %s: found\n%s\nexpected %s\n' "$1" "$2" "$3"
    failures=$((failures + 1))
  fi
}

mkdir "$folder"/{built,bundle}
cd "$folder"
echo 'int small() { return 7; }' | "$1" -x c++ -shared -fPIC -o built/libsmall.so -
echo 'int cudnnGetVersion() { return 0; }' | "$1" -x c++ -shared -fPIC -o built/libcudnn.so -Wl,-soname,libcudnn.so.9 -
echo 'int small(); int cudnnGetVersion(); int main() { return small() + cudnnGetVersion(); }' |
  "$1" -x c++ -o built/program - -Lbuilt -lsmall -lcudnn
# Without that library the program cannot start: ldd finds it as the loader would.
export LD_LIBRARY_PATH=$folder/built
needed=$("$script" needed built/program)
expect "its own library is needed" "$needed" "$folder/built/libsmall.so"
expect "neither glibc nor CUDA is" "$(grep -cE 'libc\.so|libcudnn' <<<"$needed" || true)" '^0$'
expect "the library is outside an empty folder" "$("$script" outside bundle built/program)" 'built/program libsmall.so'
unset LD_LIBRARY_PATH
cp built/libsmall.so bundle/
expect "and not when the folder has it" "$("$script" outside bundle built/program | grep small || true)" '^$'
expect "glibc's version" "$("$script" glibc built/program built/libsmall.so)" '^2\.[0-9]+ built/program$'
if output=$("$script" needed built/program 2>&1); then output="no error: $output"; fi
expect "a library that is found nowhere" "$output" 'built/program needs libsmall.so, which is not installed'
if output=$("$script" needed built/nothing 2>&1); then output="no error: $output"; fi
expect "a file that is not there" "$output" 'nothing is no program or shared library'

exit $((failures > 0))
