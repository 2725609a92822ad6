#!/usr/bin/env bash
# Sets up the machine, builds Facet and runs all its tests. Arguments go to ctest: scripts/test.sh -R passes
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

"$root/scripts/build.sh"
# Tests run side by side, each with a thread for every core: one that waits shall sleep, and not take the other's time.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
exec ctest --test-dir "$root/build" --output-on-failure --no-tests=error --parallel 2 "$@"
