#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "backends/cuda/driver_api.h"

namespace facet::cuda {

/// The number of the plan of `graph` that takes the device least time, each the mean of a few runs
/// behind two that warm up, on memory of its own that holds zeros. A plan that does not run counts
/// as slowest; 0 where all do not or there is no memory to run them in.
std::size_t fastest_plan(DriverApi& driver, const OperationGraph& graph,
                         std::span<const std::shared_ptr<const GraphPlan>> plans);

}  // namespace facet::cuda
