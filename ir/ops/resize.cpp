#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"

// Resampling on another grid. Each axis is resampled by a table of weights (ir/resample.h), so the
// gradient is the same with the tables transposed.

namespace facet::ops {
namespace {

void require_one_of(std::string_view attribute, const std::string& given,
                    std::initializer_list<std::string_view> known) {
  if (std::find(known.begin(), known.end(), given) != known.end()) return;
  std::string list;
  for (const std::string_view name : known) list += fmt::format(" {}", name);
  throw usage_error(fmt::format("resize knows no {} '{}', only{}", attribute, given, list));
}

void check_modes(const Attributes& a, const Type& x) {
  require_one_of("mode", a.text("mode"), {"nearest", "linear", "cubic"});
  require_one_of("rounding", a.text("rounding"),
                 {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"});
  require_one_of("coordinates", a.text("coordinates"),
                 {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                  "asymmetric", "tf_crop_and_resize"});
  if (a.text("mode") != "nearest" && !is_float(x.dtype)) {
    throw usage_error("resize interpolates floats, not " + to_string(x));
  }
  const auto fits = [&](const Doubles& values, std::size_t count) {
    return (values.empty() || values.size() == count) &&
           std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
  };
  const Doubles& scales = a.doubles("scales");
  if (!fits(scales, x.shape.size()) || !fits(a.doubles("roi"), 2 * x.shape.size())) {
    throw usage_error(
        "resize takes a scale for every axis, and where a region begins and ends on "
        "every axis, as finite numbers");
  }
}

/// Of the result a scale gives only what rounding leaves open.
void check_scale(double scale, std::int64_t in, std::int64_t out) {
  if (std::fabs(scale * static_cast<double>(in) - static_cast<double>(out)) <= 1 && scale > 0)
    return;
  throw usage_error(
      fmt::format("resize from {} to {} elements is no scaling by {}", in, out, scale));
}

/// The type of x resized; extents of 0 are copied.
Type resized(const Attributes& attributes, const Type& x) {
  check_modes(attributes, x);
  const Ints& sizes = attributes.ints("sizes");
  if (sizes.empty() || sizes.size() != x.shape.size()) {
    throw usage_error(
        fmt::format("resize takes an extent for every axis of {}, 0 to keep it", to_string(x)));
  }
  Type result = x;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) continue;
    require_extent("extent", sizes[i], 1);
    if (!x.shape[i].is_static()) {
      throw usage_error(
          fmt::format("resize cannot change the symbolic axis {} of {}", i, to_string(x)));
    }
    require_extent("extent", x.shape[i].factor, 1);
    const Doubles& scales = attributes.doubles("scales");
    if (!scales.empty()) check_scale(scales[i], x.shape[i].factor, sizes[i]);
    result.shape[i] = sizes[i];
  }
  return result;
}

std::vector<Type> infer_resize(const InferContext& context) {
  return {resized(context.attributes, context.operand(0))};
}

std::vector<Type> infer_resize_bwd(const InferContext& context) {
  const Type& dy = context.operand(0);
  const Ints& extents = context.attributes.ints("extents");
  require_floats(context);
  if (extents.size() != dy.shape.size()) {
    throw usage_error("resize_bwd takes the extents of x, 0 to keep that of the cotangent");
  }
  Type x = dy;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] == 0) continue;
    require_extent("extent", extents[i], 1);
    x.shape[i] = extents[i];
  }
  const Type y = resized(context.attributes, x);
  if (!(y.shape == dy.shape)) {
    throw usage_error(
        fmt::format("the cotangent {} does not fit the resized {}", to_string(dy), to_string(y)));
  }
  return {x};
}

Values resize_gradient(Builder& build, Node& node, Cotangents cotangents) {
  Attributes attributes = node.attributes();
  Ints extents = attributes.ints("sizes");
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] != 0) extents[i] = node.operand(0).shape()[i].factor;
  }
  attributes.set("extents", std::move(extents));
  return {build("resize_bwd", {cotangents[0]}, std::move(attributes))};
}

/// Two taps an axis, more or less.
double resize_flops(const Node& node) {
  return 4 * std::max(result_elements(node), operand_elements(node));
}

struct Case {
  Shape x;
  Ints sizes;
  Attributes attributes;
};

std::vector<Case> cases() {
  const auto text = [](const char* value) { return std::string(value); };
  return {{{2, 16, 4, 5},
           {0, 0, 8, 10},
           {{"coordinates", text("asymmetric")}, {"rounding", text("floor")}}},
          {{2, 3, 4, 5}, {0, 0, 7, 3}, {}},
          {{2, 16, 4, 5}, {0, 0, 8, 10}, {{"mode", text("linear")}}},
          {{2, 3, 9, 7}, {0, 0, 5, 4}, {{"mode", text("linear")}, {"antialias", true}}},
          {{2, 16, 4, 5},
           {0, 0, 7, 9},
           {{"mode", text("linear")}, {"coordinates", text("align_corners")}}},
          {{1, 2, 5, 6}, {0, 0, 9, 4}, {{"mode", text("cubic")}}},
          {{1, 2, 5, 6},
           {0, 0, 8, 10},
           {{"mode", text("cubic")}, {"cubic_coefficient", -0.5}, {"exclude_outside", true}}},
          {{1, 2, 8, 9}, {0, 0, 5, 4}, {{"mode", text("cubic")}, {"antialias", true}}},
          {{1, 2, 4, 5, 3}, {0, 0, 6, 0, 5}, {{"mode", text("linear")}}},
          {{3, 4, 7}, {0, 0, 4}, {{"mode", text("linear")}, {"scales", Doubles{1, 1, 0.6}}}},
          {{1, 2, 6, 5},
           {0, 0, 4, 4},
           {{"mode", text("linear")},
            {"coordinates", text("tf_crop_and_resize")},
            {"roi", Doubles{0, 0, 0.2, -0.1, 1, 1, 0.9, 1.2}},
            {"extrapolation", 3.0}}}};
}

std::vector<Sample> resize_samples() {
  std::vector<Sample> samples;
  for (Case& c : cases()) {
    c.attributes.set("sizes", c.sizes);
    samples.push_back({{f32(c.x)}, c.attributes});
  }
  return samples;
}

std::vector<Sample> resize_bwd_samples() {
  std::vector<Sample> samples;
  for (Case& c : cases()) {
    Ints extents = c.sizes;
    Shape y = c.x;
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (c.sizes[i] == 0) continue;
      extents[i] = c.x[i].factor;
      y[i] = c.sizes[i];
    }
    c.attributes.set("sizes", c.sizes);
    c.attributes.set("extents", extents);
    samples.push_back({{f32(y)}, c.attributes});
  }
  return samples;
}

std::vector<AttributeSpec> resize_attributes() {
  return {{"sizes", Ints{}, true},
          {"mode", std::string("nearest")},
          {"coordinates", std::string("half_pixel")},
          {"rounding", std::string("round_prefer_floor")},
          {"cubic_coefficient", -0.75},
          {"exclude_outside", false},
          {"antialias", false},
          {"extrapolation", 0.0},
          {"scales", Doubles{}},
          {"roi", Doubles{}}};
}

}  // namespace

std::vector<OpDef> resize_ops() {
  std::vector<AttributeSpec> with_extents = resize_attributes();
  with_extents.push_back({"extents", Ints{}, true});
  std::vector<OpDef> list;
  list.push_back(OpDef{
      .name = "resize",
      .doc =
          "x resampled to `sizes` (0 keeps an axis), nearest, linear or cubic along each axis; the "
          "words and formulas are those of ONNX's Resize. Without scales they are the quotients of "
          "the extents.",
      .signature = Signature({"x"}, {"y"}),
      .attributes = resize_attributes(),
      .infer = infer_resize,
      .gradient = Gradient::rule(resize_gradient),
      .layout = LayoutRole::axis_aware,
      .aliasing = Aliasing::fresh,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::primitive(),
      .cost = Cost::memory(resize_flops),
      .onnx = OnnxMapping::op("Resize", 11),
      .samples = Samples::cases(resize_samples)});
  list.push_back(OpDef{.name = "resize_bwd",
                       .doc = "The gradient of resize's x, of these extents.",
                       .signature = Signature({"dy"}, {"dx"}),
                       .attributes = std::move(with_extents),
                       .infer = infer_resize_bwd,
                       .gradient = Gradient::none("second derivatives are not supported"),
                       .layout = LayoutRole::axis_aware,
                       .aliasing = Aliasing::fresh,
                       .precision = PrecisionPolicy::follow,
                       .decomposition = Decomposition::primitive(),
                       .cost = Cost::memory(resize_flops),
                       .onnx = OnnxMapping::none("training steps are not exported"),
                       .samples = Samples::cases(resize_bwd_samples)});
  return list;
}

}  // namespace facet::ops
