#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"

// Ops that gradients are made of. Each maps onto one primitive of the backends. They have no gradient
// of their own.

namespace facet::ops {
namespace {

constexpr std::string_view kSecondOrder = "second derivatives are not supported";

Shape image(const InferContext& context, const Dim& batch, const Dim& channels) {
  const std::int64_t height = context.attributes.integer("height");
  const std::int64_t width = context.attributes.integer("width");
  require_extent("height", height, 1);
  require_extent("width", width, 1);
  return {batch, channels, height, width};
}

/// The forward op on operands of these types: its errors and result types are the backward op's too.
Type forward(std::string_view op_name, std::vector<Type> operands, const Attributes& from,
             std::initializer_list<const char*> names) {
  const OpDef& op = find_op(op_name);
  Attributes attributes;
  for (const char* name : names) {
    for (const auto& [key, value] : from) {
      if (key == name) attributes.set(key, value);
    }
  }
  for (const AttributeSpec& spec : op.attributes) {
    if (!attributes.has(spec.name)) attributes.set(std::string(spec.name), spec.default_value);
  }
  return op.infer(InferContext{op, operands, attributes}).at(0);
}

constexpr std::initializer_list<const char*> kWindow = {"strides", "pads", "dilations", "groups"};
constexpr std::initializer_list<const char*> kPool = {"kernel", "strides", "pads"};
constexpr std::initializer_list<const char*> kReduction = {"axes", "keepdims"};

void require_same(const Type& dy, const Type& y, std::string_view what) {
  if (dy.shape == y.shape) return;
  throw usage_error(fmt::format("the cotangent {} does not fit the {} {}", to_string(dy), what,
                                to_string(y)));
}

std::vector<Type> infer_conv_bwd_data(const InferContext& context) {
  const Type& dy = context.operand(0);
  const Type& weight = context.operand(1);
  if (dy.rank() != 4 || weight.rank() != 4) throw usage_error("conv_bwd_data takes images");
  const Dim channels = weight.shape[1].factor * context.attributes.integer("groups");
  const Type x{dy.dtype, image(context, dy.shape[0], channels), {}};
  require_same(dy, forward("conv", {x, weight}, context.attributes, kWindow), "result of conv");
  return {x};
}

std::vector<Type> infer_conv_bwd_weights(const InferContext& context) {
  const Type& dy = context.operand(0);
  const Type& x = context.operand(1);
  const Ints& kernel = context.attributes.ints("kernel");
  const std::int64_t groups = context.attributes.integer("groups");
  if (dy.rank() != 4 || x.rank() != 4 || kernel.size() != 2) {
    throw usage_error("conv_bwd_weights takes images and two kernel extents");
  }
  require_extent("groups", groups, 1);
  const Type weight = f32({dy.shape[1], x.shape[1].factor / groups, kernel[0], kernel[1]});
  require_same(dy, forward("conv", {x, weight}, context.attributes, kWindow), "result of conv");
  if (!context.attributes.boolean("bias")) return {weight};
  return {weight, f32({dy.shape[1]})};
}

std::vector<Type> infer_linear_bwd_data(const InferContext& context) {
  const Type& dy = context.operand(0);
  const Type& weight = context.operand(1);
  if (dy.rank() < 1 || weight.rank() != 2 || !(dy.shape.back() == weight.shape[0])) {
    throw usage_error(fmt::format("linear_bwd_data takes dy [..., out] and weight [out, in], not {} "
                                  "and {}", to_string(dy), to_string(weight)));
  }
  Type result{dy.dtype, dy.shape, {}};
  result.shape.back() = weight.shape[1];
  return {result};
}

std::vector<Type> infer_linear_bwd_weights(const InferContext& context) {
  const Type& dy = context.operand(0);
  const Type& x = context.operand(1);
  bool fits = dy.rank() >= 1 && dy.rank() == x.rank();
  for (std::size_t i = 0; fits && i + 1 < x.shape.size(); ++i) fits = dy.shape[i] == x.shape[i];
  if (!fits) {
    throw usage_error(fmt::format("linear_bwd_weights takes dy [..., out] and x [..., in], not {} and "
                                  "{}", to_string(dy), to_string(x)));
  }
  const Type weight = f32({dy.shape.back(), x.shape.back()});
  if (!context.attributes.boolean("bias")) return {weight};
  return {weight, f32({dy.shape.back()})};
}

std::vector<Type> infer_max_pool_bwd(const InferContext& context) {
  const Type& x = context.operand(1);
  require_same(context.operand(0), forward("max_pool", {x}, context.attributes, kPool),
               "result of max_pool");
  return {Type{context.operand(0).dtype, x.shape, {}}};
}

std::vector<Type> infer_avg_pool_bwd(const InferContext& context) {
  const Type& dy = context.operand(0);
  if (dy.rank() != 4) throw usage_error("avg_pool_bwd takes dy [N, C, H, W]");
  const Type x{dy.dtype, image(context, dy.shape[0], dy.shape[1]), {}};
  require_same(dy, forward("avg_pool", {x}, context.attributes, kPool), "result of avg_pool");
  return {x};
}

std::vector<Type> infer_reduce_max_bwd(const InferContext& context) {
  const Type& x = context.operand(1);
  require_same(context.operand(0), forward("reduce_max", {x}, context.attributes, kReduction),
               "result of reduce_max");
  return {Type{context.operand(0).dtype, x.shape, {}}};
}

std::vector<Type> infer_softmax_bwd(const InferContext& context) {
  require_floats(context);
  require_same(context.operand(0), context.operand(1), "result of softmax");
  normalize_axis(context.attributes.integer("axis"), context.operand(1).rank());
  return {context.operand(0)};
}

std::vector<Type> infer_prelu_bwd(const InferContext& context) {
  const Type& x = context.operand(1);
  const Type& slope = context.operand(2);
  require_same(context.operand(0), forward("prelu", {x, slope}, {}, {}), "result of prelu");
  return {context.operand(0), f32(slope.shape)};
}

double conv_flops(const Node& node, const Type& dy, const Shape& weight) {
  (void)node;
  const double per_result =
      static_cast<double>(element_count(weight).factor) / static_cast<double>(weight[0].factor);
  return 2 * static_cast<double>(element_count(dy.shape).factor) * per_result;
}
double conv_bwd_data_flops(const Node& node) {
  return conv_flops(node, node.operand(0).type(), node.operand(1).shape());
}
double conv_bwd_weights_flops(const Node& node) {
  return conv_flops(node, node.operand(0).type(), node.result_types()[0].shape);
}
double linear_bwd_data_flops(const Node& node) {
  return 2 * result_elements(node) * static_cast<double>(node.operand(1).shape()[0].factor);
}
double linear_bwd_weights_flops(const Node& node) {
  return 2 * operand_elements(node) * static_cast<double>(node.operand(1).shape().back().factor);
}
double two_per_operand(const Node& node) { return 2 * operand_elements(node); }

Attributes window(Ints strides, Ints pads, Ints dilations, std::int64_t groups) {
  return {{"strides", std::move(strides)},
          {"pads", std::move(pads)},
          {"dilations", std::move(dilations)},
          {"groups", groups}};
}

struct ConvCase {
  Shape dy, weight, x;
  Attributes attributes;
};

std::vector<ConvCase> conv_cases() {
  const Ints one{1, 1};
  const Ints none{0, 0, 0, 0};
  const Ints same{1, 1, 1, 1};
  return {{{2, 24, 9, 7}, {24, 16, 1, 1}, {2, 16, 9, 7}, window(one, none, one, 1)},
          {{2, 24, 5, 4}, {24, 16, 1, 1}, {2, 16, 9, 7}, window({2, 2}, none, one, 1)},
          {{2, 24, 9, 7}, {24, 16, 3, 3}, {2, 16, 9, 7}, window(one, same, one, 1)},
          {{2, 24, 5, 4}, {24, 16, 3, 3}, {2, 16, 9, 7}, window({2, 2}, same, one, 1)},
          {{2, 24, 4, 3}, {24, 16, 3, 3}, {2, 16, 9, 7}, window({2, 2}, none, one, 1)},
          {{2, 24, 9, 7}, {24, 16, 3, 3}, {2, 16, 9, 7}, window(one, {2, 2, 2, 2}, {2, 2}, 1)},
          {{2, 16, 9, 7}, {16, 4, 3, 3}, {2, 16, 9, 7}, window(one, same, one, 4)},
          {{1, 8, 6, 6}, {8, 3, 7, 7}, {1, 3, 12, 12}, window({2, 2}, {3, 3, 3, 3}, one, 1)},
          {{1, 1, 8, 8}, {1, 2, 7, 7}, {1, 2, 8, 8}, window(one, {3, 3, 3, 3}, one, 1)}};
}

std::vector<Sample> conv_bwd_data_samples() {
  std::vector<Sample> samples;
  for (ConvCase& c : conv_cases()) {
    c.attributes.set("height", c.x[2].factor);
    c.attributes.set("width", c.x[3].factor);
    samples.push_back({{f32(c.dy), f32(c.weight)}, c.attributes});
  }
  return samples;
}

std::vector<Sample> conv_bwd_weights_samples() {
  std::vector<Sample> samples;
  for (ConvCase& c : conv_cases()) {
    c.attributes.set("kernel", Ints{c.weight[2].factor, c.weight[3].factor});
    for (const bool bias : {false, true}) {
      c.attributes.set("bias", bias);
      samples.push_back({{f32(c.dy), f32(c.x)}, c.attributes});
    }
  }
  return samples;
}

std::vector<Sample> linear_bwd_data_samples() {
  return {{{f32({3, 12}), f32({12, 20})}, {}}, {{f32({2, 5, 12}), f32({12, 20})}, {}}};
}
std::vector<Sample> linear_bwd_weights_samples() {
  return {{{f32({3, 12}), f32({3, 20})}, {}},
          {{f32({2, 5, 12}), f32({2, 5, 20})}, {{"bias", true}}}};
}

Attributes pool(Ints kernel, Ints strides, Ints pads) {
  return {{"kernel", std::move(kernel)}, {"strides", std::move(strides)}, {"pads", std::move(pads)}};
}
std::vector<Sample> max_pool_bwd_samples() {
  const Type x = f32({2, 16, 9, 7});
  return {{{f32({2, 16, 4, 3}), x}, pool({2, 2}, {2, 2}, {0, 0, 0, 0})},
          {{f32({2, 16, 4, 3}), x}, pool({3, 3}, {2, 2}, {0, 0, 0, 0})},
          {{f32({2, 16, 5, 4}), x}, pool({3, 3}, {2, 2}, {1, 1, 1, 1})},
          {{f32({2, 5, 8, 4}), f32({2, 5, 9, 7})}, pool({3, 2}, {1, 2}, {1, 0, 0, 1})}};
}
std::vector<Sample> avg_pool_bwd_samples() {
  std::vector<Sample> samples = {
      {{f32({2, 16, 4, 3})}, pool({2, 2}, {2, 2}, {0, 0, 0, 0})},
      {{f32({2, 16, 5, 4})}, pool({3, 3}, {2, 2}, {1, 1, 1, 1})},
      {{f32({2, 5, 3, 1})}, pool({7, 7}, {1, 1}, {0, 0, 0, 0})}};
  for (Sample& sample : samples) {
    sample.attributes.set("height", std::int64_t{9});
    sample.attributes.set("width", std::int64_t{7});
  }
  return samples;
}
std::vector<Sample> reduce_max_bwd_samples() {
  const Type x = f32({2, 16, 5, 3});
  return {{{f32({2, 16, 1, 1}), x}, {{"axes", Ints{2, 3}}}},
          {{f32({2, 1, 5, 3}), x}, {{"axes", Ints{1}}}},
          {{f32({2, 16, 5}), x}, {{"axes", Ints{-1}}, {"keepdims", false}}}};
}
std::vector<Sample> softmax_bwd_samples() {
  return {{{f32({3, 10}), f32({3, 10})}, {}},
          {{f32({2, 49, 49}), f32({2, 49, 49})}, {}},
          {{f32({2, 6, 4, 3}), f32({2, 6, 4, 3})}, {{"axis", std::int64_t{1}}}}};
}
std::vector<Sample> prelu_bwd_samples() {
  const Type x = f32({2, 16, 5, 3});
  return {{{x, x, f32({16})}, {}}, {{x, x, f32({1})}, {}}, {{f32({3, 8}), f32({3, 8}), f32({8})}, {}}};
}

struct Backward {
  std::string_view name, doc;
  Signature signature;
  std::vector<AttributeSpec> attributes;
  std::vector<Type> (*infer)(const InferContext&);
  LayoutRole layout;
  Aliasing aliasing;
  PrecisionPolicy precision;
  Cost cost;
  Samples::Make samples;
};

OpDef backward(Backward op) {
  return OpDef{.name = op.name,
               .doc = op.doc,
               .signature = std::move(op.signature),
               .attributes = std::move(op.attributes),
               .infer = op.infer,
               .gradient = Gradient::none(kSecondOrder),
               .layout = op.layout,
               .aliasing = op.aliasing,
               .precision = op.precision,
               .decomposition = Decomposition::primitive(),
               .cost = op.cost,
               .onnx = OnnxMapping::none("training steps are not exported"),
               .samples = Samples::cases(op.samples)};
}

std::vector<AttributeSpec> with_window(std::vector<AttributeSpec> more) {
  std::vector<AttributeSpec> list{{"strides", Ints{1, 1}},
                                  {"pads", Ints{0, 0, 0, 0}},
                                  {"dilations", Ints{1, 1}},
                                  {"groups", std::int64_t{1}}};
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

std::vector<AttributeSpec> with_pool(std::vector<AttributeSpec> more) {
  std::vector<AttributeSpec> list{
      {"kernel", Ints{2, 2}}, {"strides", Ints{2, 2}}, {"pads", Ints{0, 0, 0, 0}}};
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

}  // namespace

std::vector<OpDef> backward_ops() {
  const AttributeSpec height{"height", std::int64_t{0}, true};
  const AttributeSpec width{"width", std::int64_t{0}, true};
  const AttributeSpec bias{"bias", false};
  using enum PrecisionPolicy;
  std::vector<OpDef> list;
  list.push_back(backward({"conv_bwd_data", "The gradient of conv's x [N, C, height, width].",
                           Signature({"dy", "weight"}, {"dx"}), with_window({height, width}),
                           infer_conv_bwd_data, LayoutRole::compute, Aliasing::fresh, low,
                           Cost::compute(conv_bwd_data_flops), conv_bwd_data_samples}));
  list.push_back(backward({"conv_bwd_weights",
                           "The gradient of conv's weight and, when asked, of its bias; f32.",
                           Signature({"dy", "x"}, {"dweight..."}),
                           with_window({{"kernel", Ints{}, true}, bias}), infer_conv_bwd_weights,
                           LayoutRole::compute, Aliasing::fresh, low,
                           Cost::compute(conv_bwd_weights_flops), conv_bwd_weights_samples}));
  list.push_back(backward({"linear_bwd_data", "The gradient of linear's x.",
                           Signature({"dy", "weight"}, {"dx"}), {}, infer_linear_bwd_data,
                           LayoutRole::plain, Aliasing::fresh, low,
                           Cost::compute(linear_bwd_data_flops), linear_bwd_data_samples}));
  list.push_back(backward({"linear_bwd_weights",
                           "The gradient of linear's weight and, when asked, of its bias; f32.",
                           Signature({"dy", "x"}, {"dweight..."}), {bias}, infer_linear_bwd_weights,
                           LayoutRole::plain, Aliasing::fresh, low,
                           Cost::compute(linear_bwd_weights_flops), linear_bwd_weights_samples}));
  list.push_back(backward({"max_pool_bwd",
                           "dy goes to the first largest element of its window, in row-major order.",
                           Signature({"dy", "x"}, {"dx"}), with_pool({}), infer_max_pool_bwd,
                           LayoutRole::axis_aware, Aliasing::fresh, follow,
                           Cost::memory(two_per_operand), max_pool_bwd_samples}));
  list.push_back(backward({"avg_pool_bwd", "dy is spread evenly over its window.",
                           Signature({"dy"}, {"dx"}), with_pool({height, width}), infer_avg_pool_bwd,
                           LayoutRole::axis_aware, Aliasing::fresh, follow,
                           Cost::memory(two_per_operand), avg_pool_bwd_samples}));
  list.push_back(backward({"reduce_max_bwd",
                           "dy goes to the first largest element, in row-major order.",
                           Signature({"dy", "x"}, {"dx"}), {{"axes", Ints{}, true}, {"keepdims", true}},
                           infer_reduce_max_bwd, LayoutRole::plain, Aliasing::fresh, follow,
                           Cost::memory(two_per_operand), reduce_max_bwd_samples}));
  list.push_back(backward({"softmax_bwd", "y * (dy - sum(dy * y)) along one axis.",
                           Signature({"dy", "y"}, {"dx"}), {{"axis", std::int64_t{-1}}},
                           infer_softmax_bwd, LayoutRole::plain, Aliasing::in_place, follow,
                           Cost::memory(two_per_operand), softmax_bwd_samples}));
  list.push_back(backward({"prelu_bwd",
                           "dx = dy * (x > 0 ? 1 : slope); dslope = sum(dy * min(x, 0)), f32.",
                           Signature({"dy", "x", "slope"}, {"dx", "dslope"}), {}, infer_prelu_bwd,
                           LayoutRole::follow, Aliasing::in_place, follow,
                           Cost::memory(two_per_operand), prelu_bwd_samples}));
  return list;
}

}  // namespace facet::ops
