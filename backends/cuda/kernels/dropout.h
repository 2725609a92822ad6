#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// dropout_train: the mask goes by the seed, the step (operand 1) and the element's row-major
/// number (ir/dropout.h), so that it has the bits it has on every other device.
bool is_dropout(const Node& node);

/// One kernel for such a node; nothing of the mask is in memory. Throws Error(failure) for another
/// node, other element types than f32, bf16 and f16, blocked layouts, and 2^31 elements or more.
KernelSequence dropout_kernels(const Node& node, std::span<const View> operands,
                               const View& result);

}  // namespace facet::cuda
