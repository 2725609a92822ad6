#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"
#include "ir/ops/window.h"

// Transposed convolution: the adjoint of a convolution, so it runs and is differentiated by the ops
// of that convolution.

namespace facet::ops {
namespace {

std::vector<Type> infer_conv_transpose(const InferContext& context) {
  const Type& x = context.operand(0);
  const Type& weight = context.operand(1);
  const Ints& more = context.attributes.ints("output_padding");
  const std::int64_t groups = context.attributes.integer("groups");
  const std::size_t axes = x.shape.size() < 2 ? 0 : x.shape.size() - 2;
  if ((axes != 2 && axes != 3) || weight.shape.size() != axes + 2 || more.size() != axes) {
    throw usage_error(fmt::format(
        "conv_transpose takes x [N, C, H, W] or [N, C, D, H, W], a weight [C, O/groups, "
        "kernel...] and an output padding per spatial axis, not {} and {}",
        to_string(x), to_string(weight)));
  }
  require_floats(context);
  require_extent("groups", groups, 1);
  const std::vector<std::int64_t> w = static_extents(weight.shape);
  if (!(x.shape[1] == Dim(w[0])) || w[0] % groups != 0) {
    throw usage_error(fmt::format("x has {} channels, but weight {} in {} groups reads {}",
                                  to_string(x.shape[1]), to_string(weight.shape), groups, w[0]));
  }
  const Sliding window(context, axes);
  Type result{x.dtype, {x.shape[0], w[1] * groups}, {}};
  for (std::size_t i = 0; i < axes; ++i) {
    const Dim& in = x.shape[i + 2];
    if (!in.is_static()) throw usage_error("a spatial extent cannot be symbolic: " + to_string(in));
    require_extent("extent of the image", in.factor, 1);
    require_extent("output padding", more[i], 0);
    const std::int64_t steps = (in.factor - 1) * window.strides[i];
    const std::int64_t out =
        steps + window.span(i, w[i + 2]) + more[i] - window.pads[i] - window.pads[i + axes];
    require_extent("extent of the result of conv_transpose", out, 1);
    result.shape.emplace_back(out);
  }
  return {result};
}

/// The convolution that this one is the adjoint of.
Attributes convolution_window(const Node& node) {
  Attributes window = node.attributes();
  window.erase("output_padding");
  return window;
}

/// Places of that convolution on the result, along spatial axis `i`: beyond the extent of x when
/// the output padding is as wide as a stride.
std::int64_t places(const Node& node, std::size_t i) {
  const std::size_t axes = node.operand(0).shape().size() - 2;
  const Attributes& a = node.attributes();
  const std::int64_t kernel = node.operand(1).shape()[i + 2].factor;
  const std::int64_t room = node.result_types()[0].shape[i + 2].factor + a.ints("pads")[i] +
                            a.ints("pads")[i + axes] - (kernel - 1) * a.ints("dilations")[i] - 1;
  return room / a.ints("strides")[i] + 1;
}

/// x with zeros behind it wherever that convolution has more places.
Value padded(Builder& build, const Node& node) {
  Value x = node.operand(0);
  for (std::size_t i = 0; i + 2 < x.shape().size(); ++i) {
    const std::int64_t missing = places(node, i) - x.shape()[i + 2].factor;
    if (missing == 0) continue;
    x = build("pad", {x}, {{"axis", static_cast<std::int64_t>(i + 2)}, {"after", missing}});
  }
  return x;
}

std::vector<Value> decompose_conv_transpose(Builder& build, Node& node) {
  const std::vector<std::int64_t> y([&] {
    const Shape& shape = node.result_types()[0].shape;
    return static_extents(Shape(shape.begin() + 2, shape.end()));
  }());
  Attributes window = convolution_window(node);
  const Value x = padded(build, node);
  if (y.size() == 3) {
    window.set("extents", Ints(y));
    return {build("conv3d_bwd_data", {x, node.operand(1)}, window)};
  }
  window.set("height", y[0]);
  window.set("width", y[1]);
  return {build("conv_bwd_data", {x, node.operand(1)}, window)};
}

Values conv_transpose_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value x = node.operand(0), weight = node.operand(1), dy = cotangents[0];
  const bool volume = x.shape().size() == 5;
  Values result(2);
  if (takes_cotangent(x)) {
    Value dx = build(volume ? "conv3d" : "conv", {dy, weight}, convolution_window(node));
    for (std::size_t i = 2; i < x.shape().size(); ++i) {
      const std::int64_t extent = x.shape()[i].factor;
      if (dx.shape()[i].factor == extent) continue;
      dx = build(
          "slice", {dx},
          {{"axis", static_cast<std::int64_t>(i)}, {"start", std::int64_t{0}}, {"end", extent}});
    }
    result[0] = cast_like(build, dx, x);
  }
  if (takes_cotangent(weight)) {
    const std::vector<std::int64_t> w = static_extents(weight.shape());
    Attributes window = convolution_window(node);
    window.set("kernel", Ints(w.begin() + 2, w.end()));
    const Value dweight = build(volume ? "conv3d_bwd_weights" : "conv_bwd_weights",
                                {padded(build, node), dy}, std::move(window));
    result[1] = cast_like(build, dweight, weight);
  }
  return result;
}

double conv_transpose_flops(const Node& node) {
  const double taps = static_cast<double>(element_count(node.operand(1).shape()).factor) /
                      static_cast<double>(node.operand(1).shape()[0].factor);
  return 2 * operand_elements(node) * taps;
}

std::vector<Sample> conv_transpose_samples() {
  const auto sample = [](Shape x, Shape weight, Ints strides, Ints pads, Ints dilations, Ints more,
                         std::int64_t groups) {
    return Sample{{f32(std::move(x)), f32(std::move(weight))},
                  {{"strides", std::move(strides)},
                   {"pads", std::move(pads)},
                   {"dilations", std::move(dilations)},
                   {"output_padding", std::move(more)},
                   {"groups", groups}}};
  };
  const Ints one{1, 1}, none{0, 0};
  return {sample({2, 8, 4, 5}, {8, 6, 3, 3}, one, {0, 0, 0, 0}, one, none, 1),
          sample({2, 16, 4, 5}, {16, 8, 2, 2}, {2, 2}, {0, 0, 0, 0}, one, none, 1),
          sample({2, 8, 4, 5}, {8, 3, 3, 3}, {2, 2}, {1, 1, 1, 1}, one, {1, 1}, 2),
          sample({1, 4, 3, 4}, {4, 2, 3, 2}, {3, 2}, {1, 0, 0, 1}, {2, 2}, {0, 1}, 1),
          sample({1, 4, 3, 3}, {4, 2, 2, 2}, {1, 2}, {0, 0, 0, 0}, one, {2, 5}, 1),
          sample({1, 4, 3, 4, 2}, {4, 2, 3, 2, 3}, {2, 1, 2}, {1, 0, 1, 0, 0, 1}, {1, 1, 1},
                 {1, 0, 0}, 2)};
}

}  // namespace

OpDef conv_transpose_op() {
  return OpDef{
      .name = "conv_transpose",
      .doc =
          "Every element of x [N, C, spatial...] adds its multiple of weight [C, O/groups, "
          "kernel...] to the place where a convolution's window would have read it; output_padding "
          "zeros stand behind the result, and pads are cut off it.",
      .signature = Signature({"x", "weight"}, {"y"}),
      .attributes = {{"strides", Ints{1, 1}},
                     {"pads", Ints{0, 0, 0, 0}},
                     {"dilations", Ints{1, 1}},
                     {"output_padding", Ints{0, 0}},
                     {"groups", std::int64_t{1}}},
      .infer = infer_conv_transpose,
      .gradient = Gradient::rule(conv_transpose_gradient),
      .layout = LayoutRole::plain,
      .aliasing = Aliasing::fresh,
      .precision = PrecisionPolicy::low,
      .decomposition = Decomposition::rule(decompose_conv_transpose),
      .cost = Cost::compute(conv_transpose_flops),
      .onnx = OnnxMapping::op("ConvTranspose", 1),
      .samples = Samples::cases(conv_transpose_samples)};
}

}  // namespace facet::ops
