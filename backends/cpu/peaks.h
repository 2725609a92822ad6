#pragma once

#include "backends/ceilings.h"

namespace facet {

/// Measures the machine's ceilings (the bandwidth by reading) with `threads` OpenMP threads in less
/// than half a second: the best of several short runs each, since anything that disturbs a run
/// makes it slower.
Ceilings measure_ceilings(int threads);

}  // namespace facet
