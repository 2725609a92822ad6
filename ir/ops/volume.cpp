#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"
#include "ir/ops/window.h"

// Convolution of volumes [N, C, D, H, W] and its gradients. Images have `conv`, which is fused with
// what follows it; volumes are rare and take a bias by `add`.

namespace facet::ops {
namespace {

constexpr std::size_t kAxes = 3;
constexpr std::string_view kSecondOrder = "second derivatives are not supported";

std::vector<Type> infer_conv3d(const InferContext& context) {
  return {infer_window_product(context, context.operand(0), context.operand(1), kAxes)};
}

const Ints& three_extents(const InferContext& context, std::string_view attribute) {
  const Ints& extents = context.attributes.ints(attribute);
  if (extents.size() != kAxes) {
    throw usage_error(fmt::format("'{}' takes three extents as {}", context.op.name, attribute));
  }
  for (const std::int64_t extent : extents) require_extent(attribute, extent, 1);
  return extents;
}

void require_volumes(const InferContext& context) {
  if (context.operand(0).rank() == 5 && context.operand(1).rank() == 5) return;
  throw usage_error(fmt::format("'{}' takes operands of rank 5, not {} and {}", context.op.name,
                                to_string(context.operand(0)), to_string(context.operand(1))));
}

void require_result(const Type& dy, const Type& y) {
  if (dy.shape == y.shape) return;
  throw usage_error(fmt::format("the cotangent {} does not fit the result of conv3d {}",
                                to_string(dy), to_string(y)));
}

std::vector<Type> infer_data(const InferContext& context) {
  require_volumes(context);
  const Type& dy = context.operand(0);
  const Ints& extents = three_extents(context, "extents");
  const std::int64_t groups = context.attributes.integer("groups");
  require_extent("groups", groups, 1);
  const Dim channels = context.operand(1).shape[1].factor * groups;
  const Type x{dy.dtype, {dy.shape[0], channels, extents[0], extents[1], extents[2]}, {}};
  require_result(dy, infer_window_product(context, x, context.operand(1), kAxes));
  return {x};
}

std::vector<Type> infer_weights(const InferContext& context) {
  require_volumes(context);
  const Type& dy = context.operand(0);
  const Type& x = context.operand(1);
  const Ints& kernel = three_extents(context, "kernel");
  const std::int64_t groups = context.attributes.integer("groups");
  require_extent("groups", groups, 1);
  const Type weight =
      f32({dy.shape[1], x.shape[1].factor / groups, kernel[0], kernel[1], kernel[2]});
  require_result(dy, infer_window_product(context, x, weight, kAxes));
  return {weight};
}

Values conv3d_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value x = node.operand(0), weight = node.operand(1), dy = cotangents[0];
  const std::vector<std::int64_t> in = static_extents(x.shape());
  const std::vector<std::int64_t> w = static_extents(weight.shape());
  Values result(2);
  if (takes_cotangent(x)) {
    Attributes attributes = node.attributes();
    attributes.set("extents", Ints(in.begin() + 2, in.end()));
    result[0] = cast_like(build, build("conv3d_bwd_data", {dy, weight}, attributes), x);
  }
  if (takes_cotangent(weight)) {
    Attributes attributes = node.attributes();
    attributes.set("kernel", Ints(w.begin() + 2, w.end()));
    result[1] = cast_like(build, build("conv3d_bwd_weights", {dy, x}, attributes), weight);
  }
  return result;
}

/// Multiply-adds of all products of a result with the taps it is made of.
double products(const Shape& y, const Shape& weight) {
  const double taps =
      static_cast<double>(element_count(weight).factor) / static_cast<double>(weight[0].factor);
  return 2 * static_cast<double>(element_count(y).factor) * taps;
}
double conv3d_flops(const Node& node) {
  return products(node.result_types()[0].shape, node.operand(1).shape());
}
double data_flops(const Node& node) {
  return products(node.operand(0).shape(), node.operand(1).shape());
}
double weights_flops(const Node& node) {
  return products(node.operand(0).shape(), node.result_types()[0].shape);
}

struct Case {
  Shape x, weight, y;
  Attributes attributes;
};

std::vector<Case> cases() {
  const auto window = [](Ints strides, Ints pads, Ints dilations, std::int64_t groups) {
    return Attributes{{"strides", std::move(strides)},
                      {"pads", std::move(pads)},
                      {"dilations", std::move(dilations)},
                      {"groups", groups}};
  };
  const Ints one{1, 1, 1};
  return {
      {{2, 4, 5, 4, 6}, {6, 4, 3, 3, 3}, {2, 6, 3, 2, 4}, window(one, {0, 0, 0, 0, 0, 0}, one, 1)},
      {{1, 4, 5, 4, 6},
       {6, 4, 3, 2, 3},
       {1, 6, 3, 3, 3},
       window({2, 1, 2}, {1, 0, 1, 1, 0, 1}, one, 1)},
      {{2, 4, 5, 4, 6}, {6, 2, 2, 3, 2}, {2, 6, 4, 3, 5}, window(one, {0, 1, 0, 0, 0, 0}, one, 2)},
      {{1, 3, 6, 5, 7},
       {3, 1, 2, 2, 3},
       {1, 3, 4, 3, 3},
       window(one, {0, 0, 0, 0, 0, 0}, {2, 2, 2}, 3)}};
}

std::vector<Sample> conv3d_samples() {
  std::vector<Sample> samples;
  for (const Case& c : cases()) samples.push_back({{f32(c.x), f32(c.weight)}, c.attributes});
  return samples;
}

std::vector<Sample> data_samples() {
  std::vector<Sample> samples;
  for (Case& c : cases()) {
    c.attributes.set("extents", Ints{c.x[2].factor, c.x[3].factor, c.x[4].factor});
    samples.push_back({{f32(c.y), f32(c.weight)}, c.attributes});
  }
  return samples;
}

std::vector<Sample> weights_samples() {
  std::vector<Sample> samples;
  for (Case& c : cases()) {
    c.attributes.set("kernel", Ints{c.weight[2].factor, c.weight[3].factor, c.weight[4].factor});
    samples.push_back({{f32(c.y), f32(c.x)}, c.attributes});
  }
  return samples;
}

struct VolumeOp {
  std::string_view name, doc;
  Signature signature;
  std::string_view extents;  ///< a required attribute
  std::vector<Type> (*infer)(const InferContext&);
  Gradient gradient;
  Cost cost;
  OnnxMapping onnx;
  Samples::Make samples;
};

OpDef volume_op(VolumeOp op) {
  std::vector<AttributeSpec> attributes{{"strides", Ints{1, 1, 1}},
                                        {"pads", Ints{0, 0, 0, 0, 0, 0}},
                                        {"dilations", Ints{1, 1, 1}},
                                        {"groups", std::int64_t{1}}};
  if (!op.extents.empty()) attributes.push_back({op.extents, Ints{}, true});
  return OpDef{.name = op.name,
               .doc = op.doc,
               .signature = std::move(op.signature),
               .attributes = std::move(attributes),
               .infer = op.infer,
               .gradient = op.gradient,
               .layout = LayoutRole::plain,
               .aliasing = Aliasing::fresh,
               .precision = PrecisionPolicy::low,
               .decomposition = Decomposition::primitive(),
               .cost = op.cost,
               .onnx = op.onnx,
               .samples = Samples::cases(op.samples)};
}

}  // namespace

std::vector<OpDef> volume_ops() {
  const Gradient none = Gradient::none(kSecondOrder);
  const OnnxMapping training = OnnxMapping::none("training steps are not exported");
  std::vector<OpDef> list;
  list.push_back(volume_op(
      {"conv3d",
       "Cross-correlation of x [N, C, D, H, W] with weight [O, C/groups, kd, kh, kw]. pads = "
       "[front, top, left, back, bottom, right].",
       Signature({"x", "weight"}, {"y"}), "", infer_conv3d, Gradient::rule(conv3d_gradient),
       Cost::compute(conv3d_flops), OnnxMapping::op("Conv", 1), conv3d_samples}));
  list.push_back(volume_op({"conv3d_bwd_data", "The gradient of conv3d's x, of these extents.",
                            Signature({"dy", "weight"}, {"dx"}), "extents", infer_data, none,
                            Cost::compute(data_flops), training, data_samples}));
  list.push_back(volume_op({"conv3d_bwd_weights", "The gradient of conv3d's weight; f32.",
                            Signature({"dy", "x"}, {"dweight"}), "kernel", infer_weights, none,
                            Cost::compute(weights_flops), training, weights_samples}));
  return list;
}

}  // namespace facet::ops
