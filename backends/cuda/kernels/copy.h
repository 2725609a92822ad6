#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// Whether the node moves elements of any type and computes nothing: transpose, concat, slice,
/// strided_slice, reverse, expand, reorder, reshape, pad with a value, skew, unskew, and what is
/// its first operand (stop_gradient, straight_through, dropout in inference).
bool is_copy(const Node& node);

/// One kernel for such a node; each operand of a concat has blocks of its own. Every address is an
/// affine function of the element's place (skew is one whose rows begin one element later each).
///
/// Where both sides lie side by side along the same axis, 16 bytes are moved at a time where
/// extents and strides allow it; where the sides differ (a transpose, NCHW to NHWC), tiles of 32 x
/// 32 go through shared memory, so that both reads and writes are of neighbours. Addresses must be
/// multiples of 16 bytes. Throws Error(failure) for another node, blocked layouts, a reshape into
/// strides that have gaps, and 2^31 elements or more.
KernelSequence copy_kernels(const Node& node, std::span<const View> operands, const View& result);

}  // namespace facet::cuda
