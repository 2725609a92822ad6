#!/bin/sh
# Shows in a few minutes what a GPU makes of Facet; --help says how. Needs python3, and PyTorch to compare.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if ! command -v python3 >/dev/null; then
  echo 'gpu_check: python3 is not installed' >&2
  exit 1
fi
exec python3 "$here/gpu_check" "$@"
