#pragma once

#include <cstddef>
#include <span>

#include "backends/cuda/operation_graph.h"

namespace facet::test {

/// Computes an operation graph on values in the host's memory as cuDNN's manual defines its
/// operations, by plain loops in f32: what is not in memory is not rounded. `addresses` are those
/// of the tensors by number. Throws Error(failure) for an operation that it does not know.
void run_on_host(const cuda::OperationGraph& graph, std::span<std::byte* const> addresses);

}  // namespace facet::test
