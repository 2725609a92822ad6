#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"

// Layer normalisation (Ba, Kiros, Hinton 2016) over the last axes: one step in inference. Training
// differentiates its decomposition.

namespace facet::ops {
namespace {

std::vector<Type> infer_layer_norm(const InferContext& context) {
  const Type& x = context.operand(0);
  require_floats(context);
  const std::int64_t axis = normalize_axis(context.attributes.integer("axis"), x.rank());
  const Shape normal(x.shape.begin() + axis, x.shape.end());
  if (!is_static(normal)) {
    throw usage_error("layer_norm takes fixed extents to normalise, not " + to_string(normal));
  }
  for (std::size_t i = 1; i < context.operands.size(); ++i) {
    if (context.operand(i).shape == normal) continue;
    throw usage_error(fmt::format("layer_norm over {} of {} got a scale or bias {}",
                                  to_string(normal), to_string(x), to_string(context.operand(i))));
  }
  return {x};
}

std::vector<Value> decompose_layer_norm(Builder& build, Node& node) {
  const DType wide = node.operand(0).dtype() == DType::f64 ? DType::f64 : DType::f32;
  const auto widened = [&](Value value) {
    if (value.dtype() == wide) return value;
    return build("cast", {value}, {{"dtype", std::string(to_string(wide))}});
  };
  const Value x = widened(node.operand(0));
  Ints axes;
  for (std::int64_t axis = normalize_axis(node.attributes().integer("axis"), x.type().rank());
       axis < x.type().rank(); ++axis) {
    axes.push_back(axis);
  }
  const Value centred = build("sub", {x, build("reduce_mean", {x}, {{"axes", axes}})});
  const Value variance = build("reduce_mean", {build("square", {centred})}, {{"axes", axes}});
  const Value epsilon = build.scalar(node.attributes().number("epsilon"), wide);
  Value y = build("mul", {centred, build("rsqrt", {build("add", {variance, epsilon})})});
  if (node.operand_count() > 1) y = build("mul", {y, widened(node.operand(1))});
  if (node.operand_count() > 2) y = build("add", {y, widened(node.operand(2))});
  return {as_result(build, node, y)};
}

double eight_per_element(const Node& node) { return 8 * operand_elements(node); }

std::vector<Sample> layer_norm_samples() {
  return {{{f32({2, 5, 24}), f32({24}), f32({24})}, {}},
          {{f32({3, 70})}, {{"epsilon", 1e-3}}},
          {{f32({2, 7, 16}), f32({16})}, {}},
          {{f32({2, 3, 4, 5}), f32({4, 5}), f32({4, 5})}, {{"axis", std::int64_t{2}}}},
          {{f32({2, 16, 5, 3}), f32({3})}, {{"axis", std::int64_t{3}}}}};
}

}  // namespace

std::vector<OpDef> layer_norm_ops() {
  std::vector<OpDef> list;
  list.push_back(OpDef{
      .name = "layer_norm",
      .doc = "(x - mean) / sqrt(variance + epsilon) over the axes from `axis` on, with the biased "
             "variance; times scale and plus bias, both of those axes' shape. Statistics are f32.",
      .signature = Signature({"x", "scale?", "bias?"}, {"y"}),
      .attributes = {{"axis", std::int64_t{-1}}, {"epsilon", 1e-5}},
      .infer = infer_layer_norm,
      .gradient = Gradient::decomposed(),
      .layout = LayoutRole::plain,
      .aliasing = Aliasing::in_place,
      .precision = PrecisionPolicy::follow,
      .decomposition = Decomposition::rule(decompose_layer_norm),
      .cost = Cost::memory(eight_per_element),
      .onnx = OnnxMapping::op("LayerNormalization", 17),
      .samples = Samples::cases(layer_norm_samples)});
  return list;
}

}  // namespace facet::ops
