#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// max_pool, avg_pool, max_pool_dilated, and their gradients, of floats.
bool is_pooling(const Node& node);

/// Kernels for such a node, images [N, C, H, W] or volumes in any plain layout.
///
/// Forward, and for the gradient of a mean, a thread makes some neighbouring channels of one place;
/// it reads each tap of the windows once. The gradient of a maximum is two kernels: the first
/// leaves in scratch, a byte for each window, which of its taps is the first largest (a NaN counts
/// as largest); the second adds up, for each place of x, the windows that it won. Nothing is added
/// atomically, so that bits are the same in every run. Throws Error(failure) for other element
/// types than f32, bf16 and f16, blocked layouts, windows of more than 255 taps in the gradient of
/// a maximum, and 2^31 elements or more.
KernelSequence pooling_kernels(const Node& node, std::span<const View> operands,
                               std::span<const View> results);

}  // namespace facet::cuda
