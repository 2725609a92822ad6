#!/usr/bin/env bash
# Formats every tracked C++ source by .clang-format.
#
#   scripts/format.sh [--check]
#
#   --check   change nothing; name the files that would change and exit with 1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
  '') mode=(-i) ;;
  --check) mode=(--dry-run -Werror) ;;
  *)
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
if ! command -v clang-format >/dev/null; then
  echo "format: clang-format is not installed; it is in the package of that name: apt-get install clang-format" >&2
  exit 1
fi
status=0
while IFS= read -r -d '' file; do
  if [[ ! -e $file ]]; then continue; fi  # deleted, but the deletion is not committed yet
  if ! clang-format "${mode[@]}" "$file" 2>/dev/null; then
    echo "format: $file"
    status=1
  fi
done < <(git ls-files -z -- '*.h' '*.cpp' '*.cu' '*.cuh')
exit $status
