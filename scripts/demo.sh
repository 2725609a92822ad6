#!/usr/bin/env bash
# Sets up the machine, builds Facet and shows what the command offers.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

"$root/scripts/build.sh" -- facet
"$root/build/bin/facet" models
