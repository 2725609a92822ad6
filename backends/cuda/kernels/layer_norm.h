#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// layer_norm of floats.
bool is_layer_norm(const Node& node);

/// One kernel for such a node: a warp for each row, 16 bytes at a time. Rows are read three times
/// (mean, variance, result) but for the first time from a cache. Sums are f32 in a fixed order.
/// Throws Error(failure) for another node, other element types than f32, bf16 and f16, rows that
/// are not side by side in memory, and 2^31 threads or more.
KernelSequence layer_norm_kernels(const Node& node, std::span<const View> operands,
                                  const View& result);

}  // namespace facet::cuda
