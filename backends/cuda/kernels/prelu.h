#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// prelu_bwd of floats.
bool is_prelu_bwd(const Node& node);

/// Two kernels for such a node. The first reads dy and x once, writes dx and leaves parts of
/// dslope = sum(dy * min(x, 0)) in scratch memory: neighbouring threads take neighbouring channels,
/// 16 bytes at a time where the channels are last; of a slope that all channels share each block
/// leaves one number. The second adds up the parts. Sums are f32 in a
/// fixed order. Throws Error(failure) for another node, other element types than f32, bf16 and f16,
/// blocked layouts, and 2^31 elements or more.
KernelSequence prelu_bwd_kernels(const Node& node, std::span<const View> operands,
                                 std::span<const View> results);

}  // namespace facet::cuda
