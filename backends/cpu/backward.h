#pragma once

#include "backends/cpu/compute.h"

/// The gradients of conv and linear on oneDNN: conv_bwd_data, conv_bwd_weights, linear_bwd_data and
/// linear_bwd_weights. All functions are safe from several threads.
namespace facet::cpu {

bool is_backward_compute(const Node& node);
/// Whether some oneDNN primitive runs the node in some layout.
bool supports_backward(Device& device, const Node& node);
/// NHWC for images, what oneDNN wants for the weights that are read, row-major for gradients of
/// weights: the updates read them so.
LayoutChoice choose_backward_layouts(Device& device, const Node& node);

/// As lower_compute. Gradients of weights that oneDNN makes in blocks are brought into the result's
/// layout on every run. Throws Error(failure).
std::unique_ptr<Kernel> lower_backward(Device& device, const Node& node,
                                       std::span<const View> operands,
                                       std::span<const View> results);

}  // namespace facet::cpu
