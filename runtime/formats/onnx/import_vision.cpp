#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "runtime/formats/onnx/import_windows.h"

// Convolutions in one, two and three dimensions, transposed and deformed ones.

namespace facet::onnx_import {
namespace {

/// The spatial extents of weights, which kernel_shape may repeat.
Ints kernel_of(const NodeReader& node, Value weight) {
  const Shape& shape = weight.shape();
  if (shape.size() < 3) node.unsupported("weights " + to_string(weight.type()));
  const std::vector<std::int64_t> extents = static_extents(shape);
  const Ints kernel(extents.begin() + 2, extents.end());
  if (node.ints("kernel_shape", kernel) != kernel) {
    node.unsupported(
        fmt::format("kernel_shape differs from that of the weights {}", to_string(weight.type())));
  }
  return kernel;
}

Value convolve(NodeReader& node, Value x, Value weight, std::optional<Value> bias,
               const Window& window) {
  Attributes attributes = window.attributes();
  attributes.set("groups", node.integer("group", 1));
  if (window.axes() == 3) {
    const Value y = node.make("conv3d", {x, weight}, std::move(attributes));
    return bias ? add_channel_bias(node, y, *bias) : y;
  }
  std::vector<Value> operands{x, weight};
  if (bias) {
    operands.push_back(*bias);
    attributes.set("epilogue", Strings{"bias"});
  }
  return node.make("conv", std::move(operands), std::move(attributes));
}

void import_conv(NodeReader& node) {
  const Value x = node.input(0);
  const Value weight = node.input(1, ParameterRole::weight);
  std::optional<Value> bias;
  if (node.has_input(2)) bias = node.input(2, ParameterRole::bias);
  const Window window = read_window(node, x.shape(), kernel_of(node, weight));
  if (window.axes() == 1) {
    const Value y =
        convolve(node, as_image(node, x), as_image(node, weight), bias, as_image(window));
    return node.set(as_line(node, y));
  }
  node.set(convolve(node, x, weight, bias, window));
}

/// Padding and output padding of a transposed convolution. output_shape and the automatic padding
/// say how large the result is, and the padding follows: ONNX, operator ConvTranspose.
void fit_transposed(const NodeReader& node, const Shape& x, Window& window, Ints& more) {
  const std::size_t axes = window.axes();
  const std::string automatic = node.text("auto_pad", "NOTSET");
  const bool same = automatic == "SAME_UPPER" || automatic == "SAME_LOWER";
  Ints wanted = node.ints("output_shape", {});
  if (wanted.empty() && !same) return;
  if (wanted.size() == axes + 2) wanted.erase(wanted.begin(), wanted.begin() + 2);
  if (!wanted.empty() && wanted.size() != axes) {
    node.unsupported(fmt::format("an output_shape of {} extents", wanted.size()));
  }
  for (std::size_t i = 0; i < axes; ++i) {
    const std::int64_t in = static_extents({x[i + 2]})[0];
    const std::int64_t out = wanted.empty() ? in * window.strides[i] : wanted[i];
    if (out < 1 || out > std::numeric_limits<std::int32_t>::max()) {
      node.unsupported(fmt::format("a result of extent {}", out));
    }
    const std::int64_t total = window.strides[i] * (in - 1) + more[i] + window.span(i) - out;
    // A result that is larger than what the windows reach has zeros behind it.
    more[i] += std::max<std::int64_t>(-total, 0);
    const std::int64_t cut = std::max<std::int64_t>(total, 0);
    window.pads[i] = automatic == "SAME_UPPER" ? cut / 2 : cut - cut / 2;
    window.pads[i + axes] = cut - window.pads[i];
  }
}

void import_conv_transpose(NodeReader& node) {
  Value x = node.input(0);
  Value weight = node.input(1, ParameterRole::weight);
  Window window = read_window(node, x.shape(), kernel_of(node, weight));
  Ints more = node.ints("output_padding", Ints(window.axes(), 0));
  if (more.size() != window.axes()) node.unsupported("output_padding for other axes");
  fit_transposed(node, x.shape(), window, more);
  const bool line = window.axes() == 1;
  if (line) {
    x = as_image(node, x);
    weight = as_image(node, weight);
    window = as_image(window);
    more.insert(more.begin(), 0);
  }
  Attributes attributes = window.attributes();
  attributes.set("output_padding", std::move(more));
  attributes.set("groups", node.integer("group", 1));
  Value y = node.make("conv_transpose", {x, weight}, std::move(attributes));
  if (node.has_input(2)) {
    y = add_channel_bias(node, y, node.input(2, ParameterRole::bias));
  }
  node.set(line ? as_line(node, y) : y);
}

/// The samples times the mask [N, groups * taps, H, W] of their offsets.
Value masked(NodeReader& node, Value samples, Value mask, std::int64_t groups, std::int64_t taps) {
  const Shape shape = samples.shape();
  const std::int64_t channels = shape[1].factor / taps;
  const Shape grouped{shape[0], groups, channels / groups, taps, shape[2].factor * shape[3].factor};
  Shape broadcasting = grouped;
  broadcasting[2] = 1;
  const Value product =
      node.make("mul", {node.reshape(samples, grouped), node.reshape(mask, broadcasting)});
  return node.reshape(product, shape);
}

void import_deform_conv(NodeReader& node) {
  const Value x = node.input(0);
  const Value weight = node.input(1, ParameterRole::weight);
  const Window window = read_window(node, x.shape(), kernel_of(node, weight));
  if (window.axes() != 2) node.unsupported("windows of other than two axes");
  const std::int64_t groups = node.integer("offset_group", 1);
  const std::int64_t taps = window.kernel[0] * window.kernel[1];
  Attributes attributes = window.with_kernel();
  attributes.set("offset_groups", groups);
  Value samples = node.make("deform_sample", {x, node.input(2)}, std::move(attributes));
  if (node.has_input(4)) samples = masked(node, samples, node.input(4), groups, taps);
  const Shape& w = weight.shape();
  std::vector<Value> operands{samples, node.reshape(weight, {w[0], w[1].factor * taps, 1, 1})};
  Attributes pointwise{{"groups", node.integer("group", 1)}};
  if (node.has_input(3)) {
    operands.push_back(node.input(3, ParameterRole::bias));
    pointwise.set("epilogue", Strings{"bias"});
  }
  node.set(node.make("conv", std::move(operands), std::move(pointwise)));
}

}  // namespace

void add_vision_handlers(HandlerTable& table) {
  table.add("Conv", import_conv);
  table.add("ConvTranspose", import_conv_transpose);
  table.add("DeformConv", import_deform_conv);
}

}  // namespace facet::onnx_import
