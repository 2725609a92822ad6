#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"

// Ops that steer differentiation, and what training adds to a forward pass besides batch statistics.

namespace facet::ops {
namespace {

std::vector<Type> infer_same(const InferContext& context) { return {context.operand(0)}; }

std::vector<Type> infer_straight_through(const InferContext& context) {
  if (!(context.operand(0).shape == context.operand(1).shape)) {
    throw usage_error(fmt::format("straight_through takes two values of one shape, not {} and {}",
                                  to_string(context.operand(0)), to_string(context.operand(1))));
  }
  return {context.operand(0)};
}

std::vector<Type> infer_expand(const InferContext& context) {
  const Type& x = context.operand(0);
  const Ints& extents = context.attributes.ints("shape");
  const Shape shape(extents.begin(), extents.end());
  for (const std::int64_t extent : extents) require_extent("extent", extent, 1);
  if (x.shape.size() != shape.size() || !(broadcast(x.shape, shape) == shape)) {
    throw usage_error(fmt::format("{} does not expand to {}", to_string(x), to_string(shape)));
  }
  return {Type{x.dtype, shape, {}}};
}

void check_rate(const InferContext& context) {
  const double rate = context.attributes.number("rate");
  if (rate >= 0 && rate < 1) return;
  throw usage_error(fmt::format("dropout takes a rate in [0, 1), not {}", rate));
}

std::vector<Type> infer_dropout(const InferContext& context) {
  require_floats(context);
  check_rate(context);
  return {context.operand(0)};
}

std::vector<Type> infer_dropout_train(const InferContext& context) {
  require_floats(context);
  check_rate(context);
  if (!(context.operand(1) == f32({1}))) {
    throw usage_error("dropout_train takes the step as f32[1], not " + to_string(context.operand(1)));
  }
  return {context.operand(0)};
}

/// The operand itself: of use to differentiation only.
std::vector<Value> decompose_to_operand(Builder&, Node& node) { return {node.operand(0)}; }

double one_per_element(const Node& node) { return result_elements(node); }

std::vector<Sample> unary_samples() { return {{{f32({2, 3, 5, 7})}, {}}}; }
std::vector<Sample> straight_through_samples() {
  return {{{f32({2, 3, 5}), f32({2, 3, 5})}, {}}};
}
std::vector<Sample> expand_samples() {
  return {{{f32({2, 16, 1, 1})}, {{"shape", Ints{2, 16, 5, 3}}}},
          {{f32({2, 1, 5, 3})}, {{"shape", Ints{2, 16, 5, 3}}}},
          {{f32({1})}, {{"shape", Ints{9}}}},
          {{f32({3, 1})}, {{"shape", Ints{3, 7}}}}};
}
std::vector<Sample> dropout_samples() { return {{{f32({2, 3, 5, 7})}, {{"rate", 0.5}}}}; }
std::vector<Sample> dropout_train_samples() {
  return {{{f32({2, 3, 5, 7}), f32({1})}, {{"rate", 0.5}, {"seed", std::int64_t{7}}}, 1, 4}};
}

struct TrainingOp {
  std::string_view name, doc;
  Signature signature;
  std::vector<AttributeSpec> attributes;
  std::vector<Type> (*infer)(const InferContext&);
  Gradient::Rule gradient;
  LayoutRole layout;
  Aliasing aliasing;
  Decomposition decomposition;
  OnnxMapping onnx;
  Samples::Make samples;
};

OpDef training_op(TrainingOp op) {
  return OpDef{.name = op.name,
               .doc = op.doc,
               .signature = std::move(op.signature),
               .attributes = std::move(op.attributes),
               .infer = op.infer,
               .gradient = Gradient::rule(op.gradient),
               .layout = op.layout,
               .aliasing = op.aliasing,
               .precision = PrecisionPolicy::follow,
               .decomposition = op.decomposition,
               .cost = Cost::memory(one_per_element),
               .onnx = op.onnx,
               .samples = Samples::cases(op.samples)};
}

}  // namespace

std::vector<OpDef> training_ops() {
  const Decomposition identity = Decomposition::rule(decompose_to_operand);
  const AttributeSpec rate{"rate", 0.0, true};
  std::vector<OpDef> list;
  list.push_back(training_op({"stop_gradient",
                              "x; its gradient is zero.",
                              Signature({"x"}, {"y"}),
                              {},
                              infer_same,
                              zero_gradient,
                              LayoutRole::follow,
                              Aliasing::in_place,
                              identity,
                              OnnxMapping::decomposed(),
                              unary_samples}));
  list.push_back(training_op({"straight_through",
                              "The value of `value`; its gradient goes to `through`.",
                              Signature({"value", "through"}, {"y"}),
                              {},
                              infer_straight_through,
                              straight_through_gradient,
                              LayoutRole::follow,
                              Aliasing::in_place,
                              identity,
                              OnnxMapping::decomposed(),
                              straight_through_samples}));
  list.push_back(training_op({"expand",
                              "x repeated along its axes of extent 1.",
                              Signature({"x"}, {"y"}),
                              {{"shape", Ints{}, true}},
                              infer_expand,
                              expand_gradient,
                              LayoutRole::follow,
                              Aliasing::fresh,
                              Decomposition::primitive(),
                              OnnxMapping::op("Expand", 8),
                              expand_samples}));
  list.push_back(training_op({"dropout",
                              "x; in training dropout_train takes its place.",
                              Signature({"x"}, {"y"}),
                              {rate},
                              infer_dropout,
                              identity_gradient,
                              LayoutRole::follow,
                              Aliasing::in_place,
                              identity,
                              OnnxMapping::op("Dropout", 12),
                              dropout_samples}));
  list.push_back(
      training_op({"dropout_train",
                   "x with elements zeroed with probability `rate`, the others divided by "
                   "1 - rate. A hash of seed, step and the element's row-major index "
                   "decides.",
                   Signature({"x", "step"}, {"y"}),
                   {rate, {"seed", std::int64_t{0}}},
                   infer_dropout_train,
                   dropout_train_gradient,
                   LayoutRole::plain,
                   Aliasing::in_place,
                   Decomposition::primitive(),
                   OnnxMapping::none("training steps are not exported"),
                   dropout_train_samples}));
  return list;
}

}  // namespace facet::ops
