#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients_indexing.h"
#include "ir/ops/indexing.h"

// Ops that write by index into a copy of x. Reduction "none" takes indices that differ, as ONNX
// demands: of equal ones the last is written, and the gradient would reach them all.

namespace facet::ops {
namespace {

void require_updates(const InferContext& context, const Shape& shape) {
  const Type& updates = context.operand(2);
  if (updates.dtype == context.operand(0).dtype && updates.shape == shape) return;
  throw usage_error(fmt::format("'{}' into {} takes updates {} of its dtype, not {}",
                                context.op.name, to_string(context.operand(0)), to_string(shape),
                                to_string(updates)));
}

std::vector<Type> infer_scatter_elements(const InferContext& context) {
  const Type& x = context.operand(0);
  require_indices(context, 1);
  require_reduction(context);
  require_smaller(context, 1, normalize_axis(context.attributes.integer("axis"), x.rank()));
  require_updates(context, context.operand(1).shape);
  return {Type{x.dtype, x.shape, {}}};
}

std::vector<Type> infer_scatter_nd(const InferContext& context) {
  const Type& x = context.operand(0);
  const Shape& indices = context.operand(1).shape;
  require_indices(context, 1);
  require_reduction(context);
  const std::int64_t depth =
      indices.empty() || !indices.back().is_static() ? 0 : indices.back().factor;
  if (depth < 1 || depth > x.rank()) {
    throw usage_error(fmt::format("scatter_nd into {} takes indices of 1 to {} places, not {}",
                                  to_string(x), x.rank(), to_string(context.operand(1))));
  }
  Shape updates(indices.begin(), indices.end() - 1);
  updates.insert(updates.end(), x.shape.begin() + depth, x.shape.end());
  require_updates(context, updates);
  return {Type{x.dtype, x.shape, {}}};
}

Attributes reduction(const char* name) { return {{"reduction", std::string(name)}}; }

std::vector<Sample> scatter_elements_samples() {
  const auto along = [](std::int64_t axis, const char* name) {
    return Attributes{{"axis", axis}, {"reduction", std::string(name)}};
  };
  const std::vector<Type> many{f32({4, 3, 2}), i64({4, 5, 2}), f32({4, 5, 2})};
  return {{{f32({3, 5}), i64({1, 4}), f32({1, 4})}, along(0, "none"), -3, 3},
          {{f32({2, 6}), i64({2, 1}), f32({2, 1})}, along(-1, "none"), 0, 6},
          {many, along(1, "add"), -3, 4},
          {many, along(1, "mul"), -3, 3},
          {many, along(1, "max"), -3, 3},
          {{f32({9}), i64({4}), f32({4})}, along(0, "min"), -9, 9}};
}
std::vector<Sample> scatter_nd_samples() {
  const std::vector<Type> rows{f32({5, 4}), i64({3, 1}), f32({3, 4})};
  return {{{f32({5, 4}), i64({1, 1}), f32({1, 4})}, reduction("none"), -5, 5},
          {{f32({3, 4, 2}), i64({1, 2}), f32({1, 2})}, reduction("none"), 0, 3},
          {rows, reduction("add"), -5, 6},
          {rows, reduction("mul"), -5, 5},
          {rows, reduction("max"), -5, 5},
          {{f32({3, 4}), i64({2, 3, 2}), f32({2, 3})}, reduction("min"), 0, 3}};
}

}  // namespace

std::vector<OpDef> scatter_ops() {
  const AttributeSpec reduction_attribute{"reduction", std::string("none")};
  std::vector<OpDef> list;
  list.push_back(indexing_op(
      {"scatter_elements",
       "x; the element of the updates at each place is written there, but for `axis`, where its "
       "index says: in place of what is there (none), added, multiplied, or where it is larger "
       "(max) or smaller (min).",
       Signature({"x", "indices", "updates"}, {"y"}),
       {{"axis", std::int64_t{0}}, reduction_attribute},
       infer_scatter_elements,
       scatter_elements_gradient,
       LayoutRole::plain,
       PrecisionPolicy::f32,
       Decomposition::primitive(),
       OnnxMapping::op("ScatterElements", 11),
       scatter_elements_samples}));
  list.push_back(indexing_op({"scatter_nd",
                              "x; the last axis of the indices holds places along the leading axes "
                              "of x, where the updates "
                              "are written, reduced as by scatter_elements.",
                              Signature({"x", "indices", "updates"}, {"y"}),
                              {reduction_attribute},
                              infer_scatter_nd,
                              scatter_nd_gradient,
                              LayoutRole::plain,
                              PrecisionPolicy::f32,
                              Decomposition::primitive(),
                              OnnxMapping::op("ScatterND", 11),
                              scatter_nd_samples}));
  return list;
}

}  // namespace facet::ops
