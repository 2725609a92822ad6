#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// gather and gather_elements of any type, scatter_add of floats.
bool is_gather(const Node& node);

/// One kernel for such a node. A negative index counts from the end; one outside the axis reads
/// zeros and writes nothing. scatter_add goes through all indices for each element of its result,
/// so that sums have a fixed order and nothing is added atomically: meant for few indices. Throws
/// Error(failure) for another node, blocked layouts, and 2^31 elements or more.
KernelSequence gather_kernels(const Node& node, std::span<const View> operands, const View& result);

}  // namespace facet::cuda
