#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// reduce_max_bwd of floats.
bool is_reduce_max_bwd(const Node& node);

/// One kernel for such a node: dy goes to the first largest element of x in row-major order, the
/// others of dx are 0. A warp looks for it where the innermost reduced elements are neighbours,
/// else a thread; x is read once and dx written once. Throws Error(failure) for another node, for
/// views that are not row-major, and for 2^31 elements or more.
KernelSequence reduce_max_bwd_kernels(const Node& node, std::span<const View> operands,
                                      const View& result);

}  // namespace facet::cuda
