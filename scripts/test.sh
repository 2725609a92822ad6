#!/usr/bin/env bash
# Sets up the machine, builds Facet and runs all its tests. Arguments go to ctest: scripts/test.sh -R passes
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

"$root/scripts/build.sh"
exec ctest --test-dir "$root/build" --output-on-failure --no-tests=error --parallel 2 "$@"
