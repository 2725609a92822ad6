#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"
#include "backends/cpu/kernels/direct_plan.h"

namespace facet::cpu {

/// Whether Winograd's algorithm is the faster way of this convolution: f32, a 3 x 3 window moved by
/// one, results that leave from registers, and enough channels and pixels to pay for the
/// transforms. Sums differ from the direct ones by rounding, about as much as another order of
/// summation does.
bool suits_winograd(const DirectPlan& plan);
std::unique_ptr<Kernel> make_winograd_kernel(const DirectPlan& plan);

/// The same of a `conv` whose weights change with every run, so that they are transformed in each.
bool suits_winograd_training(const Node& conv);
/// Of a `conv_bwd_data`: it is the convolution of dy by the weights with their channels exchanged
/// and the window turned by half a circle.
bool suits_winograd_gradient(const Node& node);
/// Of a `conv_bwd_weights` (winograd_weights.h).
bool suits_winograd_weights(const Node& node);
/// Of a `conv_bwd_data`. Operands dy (NHWC) and weights (row-major), result NHWC; null where the
/// views are others.
std::unique_ptr<Kernel> lower_winograd_gradient(const Node& node, std::span<const View> operands,
                                                const View& result);

}  // namespace facet::cpu
