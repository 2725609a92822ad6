#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// batch_norm_train or batch_norm_bwd.
bool is_batch_norm(const Node& node);

/// Kernels for such a node, with any tail and for x [N, C, ...] of any rank: what cuDNN has no
/// engine for (channels that are no multiple of 8 in 16 bits, a tail of add or prelu, gradients
/// behind a tail).
///
/// Forward: sums of x and of its square in parts, for each channel counted from the channel's first
/// element, so that a mean far from 0 costs no bits; the statistics from the parts; then y. x is
/// read twice, y is written once. Backward: sums of dy and of dy * xhat, where dy is first what
/// passes the tail (for add and relu it is written here, as the residual's cotangent); dscale and
/// dbias from the parts; then dx. dy, x and a sum's result y are read once and dy and x again; dx
/// is written once. Sums are f32 in a fixed order.
///
/// Result 0 may lie over an operand, as ir/op.h allows it: each element is read before it is
/// written, and nothing else is read behind that. Throws Error(failure) for another node, element
/// types other than f32, bf16 and f16, blocked layouts and 2^31 elements or more.
KernelSequence batch_norm_kernels(const Node& node, std::span<const View> operands,
                                  std::span<const View> results);

}  // namespace facet::cuda
