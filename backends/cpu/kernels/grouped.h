#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"

/// Convolutions in groups, and their gradients, group after group by the kernel of one: a group is
/// a convolution on slices of channels.
namespace facet::cpu {

/// Whether each group of a conv with trained weights, a conv_bwd_data or a conv_bwd_weights
/// (without a bias) suits Winograd's algorithm (winograd.h), which oneDNN has for no group.
bool takes_grouped(const Node& node);
/// NHWC for images, rows for weights.
LayoutChoice grouped_layouts(const Node& node);
/// Null when the node does not suit (takes_grouped), or no kernel takes a group's views.
std::unique_ptr<Kernel> lower_grouped(const Node& node, std::span<const View> operands,
                                      std::span<const View> results);

}  // namespace facet::cpu
