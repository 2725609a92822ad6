#!/bin/sh
# The command, with the bundle's libraries; see run.
exec "$(dirname -- "$0")/run" facet "$@"
