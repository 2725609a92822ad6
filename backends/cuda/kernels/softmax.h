#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// One kernel for softmax or softmax_bwd: a warp for each row where the row's elements are
/// neighbours, else a thread. Rows are read three times (softmax: largest, sum, result) or twice
/// (softmax_bwd: sum, result); they stay in the nearest cache up to some thousand elements. Sums
/// are f32 and have a fixed order. Throws Error(failure) for another node, other element types than
/// f32, bf16 and f16, and blocked layouts.
KernelSource softmax_kernel(const Node& node, std::span<const View> operands, const View& result);

}  // namespace facet::cuda
