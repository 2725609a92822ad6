#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"

/// Convolutions on NHWC images by Facet's own loops. Unlike oneDNN's they read and write slices of
/// wider images, and write several results, so branches meet without copies. Tiles of pixels x
/// channels stay in registers over the whole window; input pixels are found through pointers, so
/// padding, strides and dilations cost nothing inside.
namespace facet::cpu {

/// Whether the machine and the node (conv, or conv_branches) suit the kernel, layouts aside: no
/// groups, f32 with AVX2 or AVX-512, or bf16 with AVX-512 BF16 where there is no faster matrix
/// unit, an epilogue of the entries that the kernel knows. `extra` is the type of an operand behind
/// the node's own that an epilogue entry `added` would read.
bool takes_direct(const Node& node);
bool takes_direct_epilogue(const Node& node, std::string_view added, const Type* extra);

/// Whether the weights come from a parameter that runs change.
bool reads_trained_weights(const Node& node);

/// The layout the weights have to be in: blocks of output channels, and inside all of the window's
/// pixels and input channels, in pairs for bf16.
Layout direct_weights_layout(const Node& node);
/// NHWC for images, the above for weights.
LayoutChoice direct_layouts(const Node& node);

/// Null when the node does not suit (takes_direct) or a view is no image of rows of channels one
/// distance apart, with dtypes and weights as above.
std::unique_ptr<Kernel> lower_direct(const Node& node, std::span<const View> operands,
                                     std::span<const View> results);

}  // namespace facet::cpu
