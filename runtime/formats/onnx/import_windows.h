#pragma once

#include <cstddef>
#include <string_view>

#include "runtime/formats/onnx/node_reader.h"

/// What the operators with sliding windows (Conv, ConvTranspose, the pools) share. Private to
/// runtime/formats/onnx.
namespace facet::onnx_import {

/// A window over the spatial axes of x [N, C, spatial...]; `pads` are all at the front, then all at
/// the back.
struct Window {
  Ints kernel, strides, pads, dilations;

  std::size_t axes() const { return kernel.size(); }
  /// What it covers along an axis.
  std::int64_t span(std::size_t axis) const { return (kernel[axis] - 1) * dilations[axis] + 1; }
  bool is_dilated() const;
  /// Strides, pads and dilations, as the ops of windows name them.
  Attributes attributes() const;
  /// The same with the attribute `kernel`.
  Attributes with_kernel() const;
};

/// The node's strides, dilations, pads and auto_pad for a window of this kernel on x. Throws
/// Unsupported for counts that do not fit x, and where padding that depends on an extent meets an
/// open dimension.
Window read_window(const NodeReader& node, const Shape& x, Ints kernel);
/// The kernel that a pool's attribute gives.
Ints required_kernel(const NodeReader& node);

/// 1-D operators run on images one pixel high: [N, C, L] as [N, C, 1, L], and back.
Value as_image(NodeReader& node, Value x);
Value as_line(NodeReader& node, Value x);
Window as_image(const Window& window);

/// y + bias [C] along axis 1.
Value add_channel_bias(NodeReader& node, Value y, Value bias);
/// x [C] as [1, C, 1, ...] of `rank` axes.
Value along_channels(NodeReader& node, Value x, std::int64_t rank);

}  // namespace facet::onnx_import
