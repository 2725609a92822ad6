#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// resize or resize_bwd of floats.
bool is_resize(const Node& node);

/// One kernel for such a node: a thread for neighbours of the result, which adds up the taps of all
/// resized axes at once. The tables of taps (ir/resample.h; for resize_bwd the transposed ones) are
/// in the text. Sums are f32. 16 bytes are moved at a time where the innermost axis is not resized,
/// as with the channels last. Throws Error(failure) for another node, blocked layouts, and 2^31
/// elements or more.
KernelSequence resize_kernels(const Node& node, const View& operand, const View& result);

}  // namespace facet::cuda
