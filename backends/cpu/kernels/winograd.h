#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"
#include "backends/cpu/kernels/direct_plan.h"
#include "backends/cpu/kernels/winograd_loops.h"

namespace facet::cpu {

/// Null where the machine lacks the instructions, or has faster ones that oneDNN uses.
const WinogradLoops* winograd_loops_for(DType dtype);

/// Whether Winograd's algorithm is the faster way of this convolution: a 3 x 3 window moved by one,
/// results that leave from registers, and enough channels to pay for the transforms. In f32 sums
/// differ from the direct ones about as much as by another order of summation. In bf16 transformed
/// pixels and weights are rounded once more: results err by 4.1e-3 (relative l2, measured;
/// predicted 2.7 times the 1.6e-3 that rounding the result alone makes).
bool suits_winograd(const DirectPlan& plan);
/// The same with weights that are transformed once, ahead of all runs.
bool suits_winograd_once(const DirectPlan& plan);
std::unique_ptr<Kernel> make_winograd_kernel(const DirectPlan& plan);

/// The layout of transformed weights: 16 bytes hold 9, which only this kernel reads.
Layout winograd_weights_layout(const DirectPlan& plan);
/// A reorder of row-major weights [O, C, 3, 3] to such a layout; null for all else.
std::unique_ptr<Kernel> lower_winograd_weights(const View& weights, const View& result);

/// The same of a `conv` whose weights change with every run, so that they are transformed in each.
bool suits_winograd_training(const Node& conv);
/// Of a `conv_bwd_data`: it is the convolution of dy by the weights with their channels exchanged
/// and the window turned by half a circle.
bool suits_winograd_gradient(const Node& node);
/// Of a `conv_bwd_weights` (weights_products.h).
bool suits_winograd_weights(const Node& node);
/// Of a `conv_bwd_data`. Operands dy (NHWC) and weights (row-major), result NHWC; null where the
/// views are others.
std::unique_ptr<Kernel> lower_winograd_gradient(const Node& node, std::span<const View> operands,
                                                const View& result);

}  // namespace facet::cpu
