#include <algorithm>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients_math.h"

namespace facet::ops {
namespace {

std::vector<Type> infer_reduce(const InferContext& context) {
  const Type& x = context.operand(0);
  std::vector<bool> reduced(x.shape.size(), false);
  for (const std::int64_t axis : context.attributes.ints("axes")) {
    const auto i = static_cast<std::size_t>(normalize_axis(axis, x.rank()));
    if (reduced[i]) throw usage_error("a reduction names an axis twice");
    reduced[i] = true;
  }
  const bool keep = context.attributes.boolean("keepdims");
  Type result{x.dtype, {}, {}};
  for (std::size_t i = 0; i < x.shape.size(); ++i) {
    if (!reduced[i]) {
      result.shape.push_back(x.shape[i]);
    } else if (keep) {
      result.shape.emplace_back(1);
    }
  }
  return {result};
}

std::vector<Type> infer_reduce_prod_bwd(const InferContext& context) {
  require_floats(context);
  const std::vector<Type> reduced =
      infer_reduce(InferContext{context.op, context.operands.subspan(1), context.attributes});
  if (!(context.operand(0).shape == reduced[0].shape)) {
    throw usage_error("the cotangent " + to_string(context.operand(0)) + " is not of shape " +
                      to_string(reduced[0].shape));
  }
  return {context.operand(1)};
}

std::vector<Type> infer_softmax(const InferContext& context) {
  require_floats(context);
  normalize_axis(context.attributes.integer("axis"), context.operand(0).rank());
  return {context.operand(0)};
}

std::vector<Sample> reduce_samples() {
  const Type x = f32({2, 16, 5, 3});
  return {{{x}, {{"axes", Ints{2, 3}}}},
          {{x}, {{"axes", Ints{1}}}},
          {{x}, {{"axes", Ints{-1}}, {"keepdims", false}}},
          {{x}, {{"axes", Ints{0, 1, 2, 3}}}},
          {{f32({3, 7})}, {{"axes", Ints{1}}}},
          {{f32({2, 5, 6})}, {{"axes", Ints{1}}, {"keepdims", false}}}};
}

/// Whole numbers too.
std::vector<Sample> whole_samples() {
  std::vector<Sample> samples = reduce_samples();
  samples.push_back({{Type{DType::i32, {3, 5}, {}}}, {{"axes", Ints{1}}}, -4, 5});
  return samples;
}

std::vector<Sample> reduce_prod_bwd_samples() {
  return {{{f32({3, 1}), f32({3, 7})}, {{"axes", Ints{1}}}},
          {{f32({2, 6}), f32({2, 5, 6})}, {{"axes", Ints{1}}, {"keepdims", false}}}};
}

std::vector<Sample> softmax_samples() {
  return {{{f32({3, 10})}, {}},
          {{f32({2, 49, 49})}, {{"axis", std::int64_t{-1}}}, -4, 4},
          {{f32({2, 6, 4, 3})}, {{"axis", std::int64_t{1}}}}};
}

double elements_read(const Node& node) { return operand_elements(node); }
double softmax_flops(const Node& node) { return 4 * operand_elements(node); }

OpDef reduction(std::string_view name, std::string_view doc, Gradient::Rule gradient,
                std::string_view onnx, Samples::Make samples = reduce_samples) {
  return OpDef{.name = name,
               .doc = doc,
               .signature = Signature({"x"}, {"y"}),
               .attributes = {{"axes", Ints{}, true}, {"keepdims", true}},
               .infer = infer_reduce,
               .gradient = Gradient::rule(gradient),
               .layout = LayoutRole::axis_aware,
               .aliasing = Aliasing::fresh,
               .precision = PrecisionPolicy::follow,
               .decomposition = Decomposition::primitive(),
               .cost = Cost::memory(elements_read),
               .onnx = OnnxMapping::op(onnx, 1),
               .samples = Samples::cases(samples)};
}

}  // namespace

std::vector<OpDef> reduction_ops() {
  std::vector<OpDef> list;
  list.push_back(reduction("reduce_mean", "Mean over the axes, accumulated in f32.",
                           reduce_mean_gradient, "ReduceMean"));
  list.push_back(reduction("reduce_sum", "Sum over the axes, accumulated in f32.",
                           reduce_sum_gradient, "ReduceSum"));
  list.push_back(
      reduction("reduce_max", "Largest element over the axes.", reduce_max_gradient, "ReduceMax"));
  list.push_back(reduction("reduce_min", "Smallest element over the axes.", reduce_min_gradient,
                           "ReduceMin", whole_samples));
  list.push_back(reduction("reduce_prod", "Product over the axes.", reduce_prod_gradient,
                           "ReduceProd", whole_samples));
  list.push_back(OpDef{.name = "reduce_prod_bwd",
                       .doc = "dy times the product of the other elements that share it.",
                       .signature = Signature({"dy", "x"}, {"dx"}),
                       .attributes = {{"axes", Ints{}, true}, {"keepdims", true}},
                       .infer = infer_reduce_prod_bwd,
                       .gradient = Gradient::none("second derivatives are not supported"),
                       .layout = LayoutRole::plain,
                       .aliasing = Aliasing::fresh,
                       .precision = PrecisionPolicy::follow,
                       .decomposition = Decomposition::primitive(),
                       .cost = Cost::memory(elements_read),
                       .onnx = OnnxMapping::none("gradients are not exported"),
                       .samples = Samples::cases(reduce_prod_bwd_samples)});
  list.push_back(OpDef{.name = "softmax",
                       .doc = "exp(x - max) / sum(exp(x - max)) along one axis.",
                       .signature = Signature({"x"}, {"y"}),
                       .attributes = {{"axis", std::int64_t{-1}}},
                       .infer = infer_softmax,
                       .gradient = Gradient::rule(softmax_gradient),
                       .layout = LayoutRole::plain,
                       .aliasing = Aliasing::in_place,
                       .precision = PrecisionPolicy::follow,
                       .decomposition = Decomposition::primitive(),
                       .cost = Cost::memory(softmax_flops),
                       .onnx = OnnxMapping::op("Softmax", 13),
                       .samples = Samples::cases(softmax_samples)});
  return list;
}

}  // namespace facet::ops
