#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// batch_norm_apply of floats.
bool is_batch_norm_apply(const Node& node);

/// One elementwise kernel for such a node: tail((x - mean) * inv_std * scale + bias), rounded once.
/// Throws Error(failure) as `elementwise_kernel`.
KernelSequence batch_norm_apply_kernels(const Node& node, std::span<const View> operands,
                                        const View& result);

}  // namespace facet::cuda
