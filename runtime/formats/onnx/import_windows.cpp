#include "runtime/formats/onnx/import_windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace facet::onnx_import {
namespace {

/// Numbers of a file that sums are made of.
void require_moderate(const NodeReader& node, const Ints& values, std::int64_t least) {
  for (const std::int64_t value : values) {
    if (value >= least && value <= std::numeric_limits<std::int32_t>::max()) continue;
    node.unsupported(
        fmt::format("a window with {} among its extents, strides, dilations or pads", value));
  }
}

/// Padding that makes ceil(in / stride) places of the window; the odd one goes behind for
/// SAME_UPPER, in front for SAME_LOWER.
void pad_same(const NodeReader& node, const Shape& x, bool upper, Window& window) {
  const std::size_t axes = window.axes();
  for (std::size_t i = 0; i < axes; ++i) {
    const Dim& extent = x[i + 2];
    if (!extent.is_static()) {
      node.unsupported(
          fmt::format("auto_pad on the dynamic extent {}; give it a number (--dim "
                      "{}=EXTENT)",
                      to_string(extent), extent.symbol));
    }
    const std::int64_t stride = window.strides[i];
    const std::int64_t places = (extent.factor + stride - 1) / stride;
    const std::int64_t total =
        std::max<std::int64_t>((places - 1) * stride + window.span(i) - extent.factor, 0);
    window.pads[i] = upper ? total / 2 : total - total / 2;
    window.pads[i + axes] = total - window.pads[i];
  }
}

}  // namespace

bool Window::is_dilated() const {
  for (std::size_t i = 0; i < axes(); ++i) {
    if (kernel[i] > 1 && dilations[i] > 1) return true;
  }
  return false;
}

Attributes Window::attributes() const {
  return {{"strides", strides}, {"pads", pads}, {"dilations", dilations}};
}

Attributes Window::with_kernel() const {
  Attributes result = attributes();
  result.set("kernel", kernel);
  return result;
}

Window read_window(const NodeReader& node, const Shape& x, Ints kernel) {
  const std::size_t axes = kernel.size();
  if (axes < 1 || axes > 3 || x.size() != axes + 2) {
    node.unsupported(fmt::format("a window of {} extents on x {}", axes, to_string(x)));
  }
  Window window;
  window.strides = node.ints("strides", Ints(axes, 1));
  window.dilations = node.ints("dilations", Ints(axes, 1));
  window.pads = node.ints("pads", Ints(2 * axes, 0));
  window.kernel = std::move(kernel);
  if (window.strides.size() != axes || window.dilations.size() != axes ||
      window.pads.size() != 2 * axes) {
    node.unsupported(fmt::format("{} strides, {} dilations and {} pads for {} spatial axes",
                                 window.strides.size(), window.dilations.size(), window.pads.size(),
                                 axes));
  }
  require_moderate(node, window.kernel, 1);
  require_moderate(node, window.strides, 1);
  require_moderate(node, window.dilations, 1);
  require_moderate(node, window.pads, 0);
  for (std::size_t i = 0; i < axes; ++i) require_moderate(node, {window.span(i)}, 1);
  const std::string automatic = node.text("auto_pad", "NOTSET");
  if (automatic == "VALID") {
    window.pads.assign(2 * axes, 0);
  } else if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    pad_same(node, x, automatic == "SAME_UPPER", window);
  } else if (automatic != "NOTSET") {
    node.unsupported(fmt::format("attribute auto_pad is '{}'", automatic));
  }
  return window;
}

Ints required_kernel(const NodeReader& node) {
  if (!node.has("kernel_shape")) node.unsupported("attribute kernel_shape is missing");
  return node.ints("kernel_shape", {});
}

Value as_image(NodeReader& node, Value x) {
  Shape shape = x.shape();
  shape.insert(shape.begin() + 2, Dim(1));
  return node.reshape(x, shape);
}

Value as_line(NodeReader& node, Value x) {
  Shape shape = x.shape();
  shape.erase(shape.begin() + 2);
  return node.reshape(x, shape);
}

Window as_image(const Window& window) {
  return {{1, window.kernel[0]},
          {1, window.strides[0]},
          {0, window.pads[0], 0, window.pads[1]},
          {1, window.dilations[0]}};
}

Value along_channels(NodeReader& node, Value x, std::int64_t rank) {
  if (x.type().rank() != 1) {
    node.unsupported(fmt::format("values per channel of shape {}", to_string(x.shape())));
  }
  Shape shape(static_cast<std::size_t>(std::max<std::int64_t>(rank, 2)), Dim(1));
  shape[1] = x.shape()[0];
  return node.reshape(x, shape);
}

Value add_channel_bias(NodeReader& node, Value y, Value bias) {
  return node.make("add", {y, along_channels(node, bias, y.type().rank())});
}

}  // namespace facet::onnx_import
