#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/formats/onnx/node_reader.h"

// Resize, and Upsample of old opsets, as the op `resize`.

namespace facet::onnx_import {
namespace {

/// What a Resize says of the axes of x, put in the axes' order.
struct Target {
  Ints sizes;      ///< 0 keeps the axis
  Doubles scales;  ///< one for every axis
  Doubles roi;     ///< begins, then ends
};

std::int64_t extent_of(const NodeReader& node, const Shape& x, std::size_t axis) {
  if (x[axis].is_static()) return x[axis].factor;
  node.unsupported(
      fmt::format("resizing of the dynamic extent {}; give it a number (--dim {}=EXTENT)",
                  to_string(x[axis]), x[axis].symbol));
}

std::int64_t checked_extent(const NodeReader& node, double extent) {
  if (extent >= 1 && extent <= std::numeric_limits<std::int32_t>::max()) {
    return static_cast<std::int64_t>(extent);
  }
  node.unsupported(fmt::format("an axis resized to {} elements", extent));
}

/// The axes that scales, sizes and roi speak of: all of them, or the attribute's.
std::vector<std::size_t> resized_axes(const NodeReader& node, std::int64_t rank) {
  std::vector<std::size_t> axes;
  if (!node.has("axes")) {
    for (std::int64_t axis = 0; axis < rank; ++axis) axes.push_back(static_cast<std::size_t>(axis));
    return axes;
  }
  for (const std::int64_t axis : node.ints("axes", {})) {
    const auto at = static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
    if (axis < -rank || axis >= rank || std::find(axes.begin(), axes.end(), at) != axes.end()) {
      node.unsupported(fmt::format("axis {} of a value of rank {}", axis, rank));
    }
    axes.push_back(at);
  }
  return axes;
}

void set_scale(const NodeReader& node, const Shape& x, std::size_t axis, double scale, bool crops,
               Target& target) {
  if (!(scale > 0) || !std::isfinite(scale)) node.unsupported(fmt::format("a scale of {}", scale));
  if (scale == 1 && !crops) return;
  target.scales[axis] = scale;
  // In single precision, as the scale is: 0.7 of 10 elements are seven.
  const float extent = static_cast<float>(extent_of(node, x, axis)) * static_cast<float>(scale);
  target.sizes[axis] = checked_extent(node, std::floor(extent));
}

/// Sizes may keep an open dimension. A policy other than `stretch` gives all axes one scale.
void set_sizes(NodeReader& node, const Shape& x, const std::vector<std::size_t>& axes, bool crops,
               Target& target) {
  const Shape sizes = node.dims(3);
  if (sizes.size() != axes.size()) {
    node.unsupported(fmt::format("{} sizes for {} axes", sizes.size(), axes.size()));
  }
  const std::string policy = node.text("keep_aspect_ratio_policy", "stretch");
  double common = policy == "not_larger" ? std::numeric_limits<double>::infinity() : 0;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = axes[i];
    if (sizes[i] == x[axis] && policy == "stretch" && !crops) continue;
    if (!sizes[i].is_static())
      node.unsupported("resizing to the dynamic size " + to_string(sizes[i]));
    const std::int64_t in = extent_of(node, x, axis);
    if (in < 1) node.unsupported("resizing of nothing");
    target.sizes[axis] = checked_extent(node, static_cast<double>(sizes[i].factor));
    target.scales[axis] = static_cast<double>(target.sizes[axis]) / static_cast<double>(in);
    common = policy == "not_larger" ? std::min(common, target.scales[axis])
                                    : std::max(common, target.scales[axis]);
  }
  if (policy == "stretch") return;
  if (policy != "not_larger" && policy != "not_smaller") {
    node.unsupported(fmt::format("keep_aspect_ratio_policy '{}'", policy));
  }
  for (const std::size_t axis : axes) {
    const double extent = common * static_cast<double>(x[axis].factor);
    target.scales[axis] = common;
    target.sizes[axis] = checked_extent(node, std::floor(extent + 0.5));
  }
}

/// Which inputs the version has: X, scales (Upsample and Resize 10), or X, roi, scales, sizes.
Target read_target(NodeReader& node, const Shape& x, const std::string& coordinates) {
  const bool crops = coordinates == "tf_crop_and_resize";
  const bool old = node.op() == "Upsample" || node.opset() < 11;
  const int scales_input = old ? 1 : 2;
  const auto rank = static_cast<std::int64_t>(x.size());
  const std::vector<std::size_t> axes = resized_axes(node, rank);
  Target target{Ints(x.size(), 0), Doubles(x.size(), 1), {}};
  if (crops) {
    const Doubles roi = node.numbers(1);
    if (roi.size() != 2 * axes.size()) node.unsupported("a roi of another rank");
    target.roi.assign(2 * x.size(), 0);
    std::fill_n(target.roi.begin() + rank, rank, 1.0);
    for (std::size_t i = 0; i < axes.size(); ++i) {
      target.roi[axes[i]] = roi[i];
      target.roi[axes[i] + x.size()] = roi[i + axes.size()];
    }
  }
  Doubles scales;
  if (old && node.has("scales")) {
    scales = node.doubles("scales", {});
  } else if (node.has_input(scales_input) && !(node.shape(scales_input) == Shape{0})) {
    scales = node.numbers(scales_input);
  }
  if (scales.empty()) {
    set_sizes(node, x, axes, crops, target);
    return target;
  }
  if (scales.size() != axes.size()) {
    node.unsupported(fmt::format("{} scales for {} axes", scales.size(), axes.size()));
  }
  for (std::size_t i = 0; i < axes.size(); ++i) {
    set_scale(node, x, axes[i], scales[i], crops, target);
  }
  return target;
}

void import_resize(NodeReader& node) {
  const Value x = node.input(0);
  const bool old = node.op() == "Upsample" || node.opset() < 11;
  std::string coordinates =
      node.text("coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
  // Its first version with another name.
  if (coordinates == "tf_half_pixel_for_nn") coordinates = "half_pixel";
  Target target = read_target(node, x.shape(), coordinates);
  const bool nothing = std::all_of(target.sizes.begin(), target.sizes.end(),
                                   [](std::int64_t size) { return size == 0; });
  if (nothing) return node.pass_through(0, 0);
  // Scales that follow from the extents are left to them: the op reads the same with less.
  bool follows = true;
  for (std::size_t i = 0; i < target.sizes.size(); ++i) {
    if (target.sizes[i] == 0) continue;
    const double exact =
        static_cast<double>(target.sizes[i]) / static_cast<double>(x.shape()[i].factor);
    follows = follows && std::fabs(target.scales[i] - exact) <= 1e-7 * exact;
  }
  std::string mode = node.text("mode", "nearest");
  if (mode == "bilinear") mode = "linear";
  Attributes attributes{
      {"sizes", target.sizes},
      {"mode", mode},
      {"coordinates", coordinates},
      {"rounding", node.text("nearest_mode", old ? "floor" : "round_prefer_floor")},
      {"cubic_coefficient", node.number("cubic_coeff_a", -0.75)},
      {"exclude_outside", node.flag("exclude_outside", false)},
      {"antialias", node.flag("antialias", false)},
      {"extrapolation", node.number("extrapolation_value", 0)},
      {"roi", target.roi}};
  if (!follows) attributes.set("scales", target.scales);
  node.set(node.make("resize", {x}, std::move(attributes)));
}

}  // namespace

void add_resize_handlers(HandlerTable& table) {
  table.add("Resize", import_resize);
  table.add("Upsample", import_resize);
}

}  // namespace facet::onnx_import
