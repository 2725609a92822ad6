#include "ir/ops/indexing.h"

#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients_indexing.h"

// Ops that read by index. An index counts from the front, a negative one from the end; one that
// lies outside the axis reads zeros and writes nothing. Elements are of any dtype, indices are
// integers.

namespace facet::ops {

Type i64(Shape shape) { return Type{DType::i64, std::move(shape), {}}; }

void require_indices(const InferContext& context, std::size_t operand) {
  const DType dtype = context.operand(operand).dtype;
  if (dtype == DType::i64 || dtype == DType::i32) return;
  throw usage_error(fmt::format("'{}' takes indices of type i64 or i32, not {}", context.op.name,
                                to_string(context.operand(operand))));
}

void require_reduction(const InferContext& context) {
  const std::string& reduction = context.attributes.text("reduction");
  for (const char* known : {"none", "add", "mul", "max", "min"}) {
    if (reduction == known) return;
  }
  throw usage_error(fmt::format("'{}' is no reduction of '{}': none, add, mul, max and min are",
                                reduction, context.op.name));
}

void require_smaller(const InferContext& context, std::size_t operand, std::int64_t free_axis) {
  const Type& x = context.operand(0);
  const Type& indices = context.operand(operand);
  bool fits = x.rank() == indices.rank() && x.rank() > 0;
  for (std::size_t i = 0; fits && i < x.shape.size(); ++i) {
    if (static_cast<std::int64_t>(i) == free_axis || indices.shape[i] == x.shape[i]) continue;
    fits = indices.shape[i].is_static() && x.shape[i].is_static() &&
           indices.shape[i].factor <= x.shape[i].factor;
  }
  if (fits) return;
  throw usage_error(
      fmt::format("'{}' takes indices that are no larger than {}, but for axis {}; "
                  "not {}",
                  context.op.name, to_string(x), free_axis, to_string(indices)));
}

OpDef indexing_op(IndexingOp op) {
  return OpDef{.name = op.name,
               .doc = op.doc,
               .signature = std::move(op.signature),
               .attributes = std::move(op.attributes),
               .infer = op.infer,
               .gradient = Gradient::rule(op.gradient),
               .layout = op.layout,
               .aliasing = Aliasing::fresh,
               .precision = op.precision,
               .decomposition = op.decomposition,
               .cost = Cost::memory([](const Node& node) { return result_elements(node); }),
               .onnx = op.onnx,
               .samples = Samples::cases(op.samples)};
}

namespace {

std::vector<Type> infer_gather(const InferContext& context) {
  const Type& x = context.operand(0);
  require_indices(context, 1);
  const std::int64_t axis = normalize_axis(context.attributes.integer("axis"), x.rank());
  const Shape& indices = context.operand(1).shape;
  Type result{x.dtype, x.shape, {}};
  result.shape.erase(result.shape.begin() + axis);
  result.shape.insert(result.shape.begin() + axis, indices.begin(), indices.end());
  return {result};
}

std::vector<Type> infer_scatter_add(const InferContext& context) {
  const Type& x = context.operand(0);
  require_indices(context, 1);
  const Shape& indices = context.operand(1).shape;
  const std::int64_t axis = context.attributes.integer("axis");
  const std::int64_t extent = context.attributes.integer("extent");
  const auto count = static_cast<std::int64_t>(indices.size());
  require_extent("extent", extent, 1);
  if (axis < 0 || axis + count > x.rank() ||
      !std::equal(indices.begin(), indices.end(), x.shape.begin() + axis)) {
    throw usage_error(
        fmt::format("scatter_add takes indices {} that are the axes of {} from axis "
                    "{} on",
                    to_string(indices), to_string(x), axis));
  }
  if (x.dtype == DType::boolean) throw usage_error("scatter_add adds numbers, not truth values");
  Type result{x.dtype, x.shape, {}};
  result.shape.erase(result.shape.begin() + axis, result.shape.begin() + axis + count);
  result.shape.insert(result.shape.begin() + axis, Dim(extent));
  return {result};
}

std::vector<Type> infer_gather_elements(const InferContext& context) {
  const Type& x = context.operand(0);
  require_indices(context, 1);
  require_smaller(context, 1, normalize_axis(context.attributes.integer("axis"), x.rank()));
  return {Type{x.dtype, context.operand(1).shape, {}}};
}

std::vector<Type> infer_gather_nd(const InferContext& context) {
  const Type& x = context.operand(0);
  const Shape& indices = context.operand(1).shape;
  const std::int64_t batch = context.attributes.integer("batch_dims");
  require_indices(context, 1);
  const auto wrong = [&] {
    return usage_error(fmt::format("gather_nd over {} leading axes does not take {} and indices {}",
                                   batch, to_string(x), to_string(indices)));
  };
  if (batch < 0 || batch >= x.rank() || indices.empty() || !indices.back().is_static()) {
    throw wrong();
  }
  const std::int64_t depth = indices.back().factor;  // axes that one index names
  if (batch >= context.operand(1).rank() || depth < 1 || depth > x.rank() - batch) throw wrong();
  if (!std::equal(x.shape.begin(), x.shape.begin() + batch, indices.begin())) throw wrong();
  Type result{x.dtype, Shape(indices.begin(), indices.end() - 1), {}};
  result.shape.insert(result.shape.end(), x.shape.begin() + batch + depth, x.shape.end());
  return {result};
}

std::vector<Type> infer_top_k(const InferContext& context) {
  const Type& x = context.operand(0);
  const std::int64_t k = context.attributes.integer("k");
  const auto axis =
      static_cast<std::size_t>(normalize_axis(context.attributes.integer("axis"), x.rank()));
  if (!x.shape[axis].is_static() || k < 1 || k > x.shape[axis].factor) {
    throw usage_error(
        fmt::format("top_k takes between 1 and all elements of a fixed axis, not {} "
                    "of axis {} of {}",
                    k, axis, to_string(x)));
  }
  Type values{x.dtype, x.shape, {}};
  values.shape[axis] = k;
  return {values, i64(values.shape)};
}

std::vector<Type> infer_reverse_sequence(const InferContext& context) {
  const Type& x = context.operand(0);
  require_indices(context, 1);
  const std::int64_t batch = context.attributes.integer("batch_axis");
  const std::int64_t time = context.attributes.integer("time_axis");
  if (x.rank() < 2 || batch == time || batch < 0 || time < 0 || batch >= x.rank() ||
      time >= x.rank() ||
      !(context.operand(1).shape == Shape{x.shape[static_cast<std::size_t>(batch)]})) {
    throw usage_error(
        fmt::format("reverse_sequence takes two different axes and a length for each "
                    "of the batch, not {} along {}, {} and lengths {}",
                    to_string(x), batch, time, to_string(context.operand(1))));
  }
  return {x};
}

std::vector<Type> infer_strided_slice(const InferContext& context) {
  Type result = context.operand(0);
  const auto axis =
      static_cast<std::size_t>(normalize_axis(context.attributes.integer("axis"), result.rank()));
  const std::int64_t start = context.attributes.integer("start");
  const std::int64_t step = context.attributes.integer("step");
  const std::int64_t count = context.attributes.integer("count");
  Dim& extent = result.shape[axis];
  bool fits = extent.is_static() && start >= 0 && start < extent.factor && step != 0 && count >= 1;
  if (fits) {
    // Steps that fit between the start and the end it walks to; INT64_MIN has no opposite.
    const std::int64_t span = step > 0 ? extent.factor - 1 - start : -start;
    fits = count - 1 <= span / step;
  }
  if (!fits) {
    throw usage_error(fmt::format("{} elements from {} in steps of {} do not lie in axis {} of {}",
                                  count, start, step, axis, to_string(context.operand(0))));
  }
  extent = Dim(count);
  return {result};
}

constexpr auto k = [](auto value) { return static_cast<std::int64_t>(value); };

std::vector<Sample> gather_samples() {
  return {{{f32({7, 5}), i64({4})}, {}, -3, 9},
          {{f32({2, 3, 5}), i64({2, 4})}, {{"axis", k(1)}}, -2, 3},
          {{f32({3, 2, 9}), i64({6})}, {{"axis", k(-1)}}, -9, 9},
          {{f32({4, 3}), i64({})}, {{"axis", k(0)}}, 1, 3}};
}
std::vector<Sample> scatter_add_samples() {
  return {{{f32({4, 5}), i64({4})}, {{"axis", k(0)}, {"extent", k(6)}}, -3, 8},
          {{f32({2, 2, 4, 3}), i64({2, 4})}, {{"axis", k(1)}, {"extent", k(3)}}, -2, 3},
          {{f32({3, 2, 6}), i64({6})}, {{"axis", k(2)}, {"extent", k(9)}}, -9, 9},
          {{f32({5}), i64({})}, {{"axis", k(0)}, {"extent", k(4)}}, 1, 3}};
}
std::vector<Sample> gather_elements_samples() {
  return {{{f32({3, 4}), i64({2, 4})}, {{"axis", k(0)}}, -3, 3},
          {{f32({2, 5, 3}), i64({2, 7, 2})}, {{"axis", k(1)}}, -5, 6},
          {{f32({9}), i64({4})}, {{"axis", k(-1)}}, 0, 9}};
}
std::vector<Sample> gather_nd_samples() {
  return {{{f32({3, 4, 2}), i64({5, 2})}, {}, -3, 4},
          {{f32({3, 4}), i64({2, 3, 2})}, {}, 0, 3},
          {{f32({2, 4, 3}), i64({2, 5, 1})}, {{"batch_dims", k(1)}}, -4, 4},
          {{f32({2, 3, 4, 5}), i64({2, 3, 2})}, {{"batch_dims", k(2)}}, 0, 4}};
}
std::vector<Sample> top_k_samples() {
  return {{{f32({3, 10})}, {{"k", k(4)}}},
          {{f32({3, 10})}, {{"k", k(10)}, {"largest", false}}},
          {{f32({2, 7, 3})}, {{"k", k(2)}, {"axis", k(1)}}}};
}
std::vector<Sample> reverse_sequence_samples() {
  return {{{f32({3, 6, 2}), i64({3})}, {{"batch_axis", k(0)}, {"time_axis", k(1)}}, 1, 6},
          {{f32({5, 4}), i64({4})}, {{"batch_axis", k(1)}, {"time_axis", k(0)}}, -1, 8}};
}
std::vector<Sample> strided_slice_samples() {
  const auto steps = [](auto axis, auto start, auto count, auto step) {
    return Attributes{
        {"axis", k(axis)}, {"start", k(start)}, {"count", k(count)}, {"step", k(step)}};
  };
  return {{{f32({2, 16, 5, 4})}, steps(1, 1, 5, 3)},
          {{f32({2, 3, 8, 7})}, steps(3, 0, 4, 2)},
          {{f32({5, 9})}, steps(-1, 8, 3, -4)},
          {{f32({9, 2})}, steps(0, 7, 7, -1)},
          {{f32({6, 4})}, steps(0, 4, 1, 5)}};
}

OpDef scatter_add_op() {
  return indexing_op({"scatter_add",
                      "The adjoint of gather: sums of the slices of x that have the same index.",
                      Signature({"x", "indices"}, {"y"}),
                      {{"axis", std::int64_t{0}}, {"extent", std::int64_t{1}, true}},
                      infer_scatter_add,
                      scatter_add_gradient,
                      LayoutRole::plain,
                      PrecisionPolicy::f32,
                      Decomposition::rule(decompose_scatter_add),
                      OnnxMapping::decomposed(),
                      scatter_add_samples});
}

OpDef strided_slice_op() {
  return indexing_op({"strided_slice",
                      "`count` elements along one axis, from `start` in steps of `step`, which may "
                      "be negative.",
                      Signature({"x"}, {"y"}),
                      {{"axis", std::int64_t{0}, true},
                       {"start", std::int64_t{0}, true},
                       {"count", std::int64_t{1}, true},
                       {"step", std::int64_t{1}, true}},
                      infer_strided_slice,
                      strided_slice_gradient,
                      LayoutRole::axis_aware,
                      PrecisionPolicy::follow,
                      Decomposition::primitive(),
                      OnnxMapping::op("Slice", 10),
                      strided_slice_samples});
}

}  // namespace

std::vector<OpDef> indexing_ops() {
  const AttributeSpec axis{"axis", std::int64_t{0}};
  std::vector<OpDef> list;
  const auto add = [&](std::string_view name, std::string_view doc, Signature signature,
                       std::vector<AttributeSpec> attributes,
                       std::vector<Type> (*infer)(const InferContext&), Gradient::Rule gradient,
                       OnnxMapping onnx, Samples::Make samples) {
    list.push_back(indexing_op({name, doc, std::move(signature), std::move(attributes), infer,
                                gradient, LayoutRole::plain, PrecisionPolicy::follow,
                                Decomposition::primitive(), onnx, samples}));
  };
  add("gather", "The slices of x along one axis that the indices name.",
      Signature({"x", "indices"}, {"y"}), {axis}, infer_gather, gather_gradient,
      OnnxMapping::op("Gather", 1), gather_samples);
  add("gather_elements",
      "y has the shape of the indices; each element is that of x at its place, but for `axis`, "
      "where its index says.",
      Signature({"x", "indices"}, {"y"}), {axis}, infer_gather_elements, gather_elements_gradient,
      OnnxMapping::op("GatherElements", 11), gather_elements_samples);
  add("gather_nd",
      "The last axis of the indices holds places along the axes of x behind the first "
      "`batch_dims`, which both have: y is what lies there.",
      Signature({"x", "indices"}, {"y"}), {{"batch_dims", std::int64_t{0}}}, infer_gather_nd,
      gather_nd_gradient, OnnxMapping::op("GatherND", 12), gather_nd_samples);
  add("top_k",
      "The k largest (or smallest) elements along one axis and their places; sorted, of equals the "
      "first one first. NaN counts as the largest.",
      Signature({"x"}, {"values", "indices"}),
      {{"k", std::int64_t{1}, true}, {"axis", std::int64_t{-1}}, {"largest", true}}, infer_top_k,
      top_k_gradient, OnnxMapping::op("TopK", 11), top_k_samples);
  add("reverse_sequence",
      "x with the first lengths[b] elements along `time_axis` in the opposite order for each b "
      "along `batch_axis`.",
      Signature({"x", "lengths"}, {"y"}),
      {{"batch_axis", std::int64_t{0}, true}, {"time_axis", std::int64_t{0}, true}},
      infer_reverse_sequence, reverse_sequence_gradient, OnnxMapping::op("ReverseSequence", 10),
      reverse_sequence_samples);
  list.push_back(scatter_add_op());
  list.push_back(strided_slice_op());
  return list;
}

}  // namespace facet::ops
