#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients_math.h"

// Ops that walk along one axis: where the extreme stands, running sums, one-hot rows, log_softmax.

namespace facet::ops {
namespace {

std::vector<Type> infer_arg(const InferContext& context) {
  const Type& x = context.operand(0);
  const auto axis =
      static_cast<std::size_t>(normalize_axis(context.attributes.integer("axis"), x.rank()));
  if (x.shape[axis] == Dim(0)) {
    throw usage_error(fmt::format("'{}' over no elements of {}", context.op.name, to_string(x)));
  }
  Type result{DType::i64, x.shape, {}};
  if (context.attributes.boolean("keepdims")) {
    result.shape[axis] = 1;
  } else {
    result.shape.erase(result.shape.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  return {result};
}

std::vector<Type> infer_cum_sum(const InferContext& context) {
  normalize_axis(context.attributes.integer("axis"), context.operand(0).rank());
  if (context.operand(0).dtype == DType::boolean) throw usage_error("cum_sum takes numbers");
  return {context.operand(0)};
}

std::vector<Type> infer_log_softmax(const InferContext& context) {
  require_floats(context);
  normalize_axis(context.attributes.integer("axis"), context.operand(0).rank());
  return {context.operand(0)};
}

std::vector<Type> infer_one_hot(const InferContext& context) {
  const Type& indices = context.operand(0);
  const std::int64_t depth = context.attributes.integer("depth");
  require_extent("depth of one_hot", depth, 1);
  if (indices.dtype != DType::i64) {
    throw usage_error(fmt::format("one_hot takes indices i64, not {}", to_string(indices)));
  }
  const std::int64_t axis = normalize_axis(context.attributes.integer("axis"), indices.rank() + 1);
  Type result{parse_dtype(context.attributes.text("dtype")), indices.shape, {}};
  result.shape.insert(result.shape.begin() + axis, Dim(depth));
  return {result};
}

/// z - ln(sum(e^z)) with z = x - max(x), which no exponential of overflows.
std::vector<Value> decompose_log_softmax(Builder& build, Node& node) {
  const Attributes along{{"axes", Ints{node.attributes().integer("axis")}}};
  const Value x = node.operand(0);
  const Value z = build("sub", {x, build("reduce_max", {x}, along)});
  const Value sum = build("reduce_sum", {build("exp", {z})}, along);
  return {as_result(build, node, build("sub", {z, build("log", {sum})}))};
}

double elements_read(const Node& node) { return operand_elements(node); }
double elements_written(const Node& node) { return result_elements(node); }
double five_per_element(const Node& node) { return 5 * operand_elements(node); }

std::vector<Sample> arg_samples() {
  const Type x = f32({2, 6, 5, 3});
  return {{{x}, {{"axis", std::int64_t{1}}}},
          {{x}, {{"axis", std::int64_t{-1}}, {"keepdims", false}}},
          {{f32({3, 7})}, {{"axis", std::int64_t{0}}, {"select_last_index", true}}},
          {{Type{DType::i32, {4, 9}, {}}},
           {{"axis", std::int64_t{1}}, {"select_last_index", true}},
           0,
           4}};
}
std::vector<Sample> cum_sum_samples() {
  const Type x = f32({2, 6, 5});
  return {{{x}, {{"axis", std::int64_t{1}}}},
          {{x}, {{"axis", std::int64_t{-1}}, {"exclusive", true}}},
          {{x}, {{"axis", std::int64_t{0}}, {"reverse", true}}},
          {{f32({7})}, {{"axis", std::int64_t{0}}, {"exclusive", true}, {"reverse", true}}},
          {{Type{DType::i32, {4, 9}, {}}}, {{"axis", std::int64_t{1}}}, -9, 9}};
}
std::vector<Sample> one_hot_samples() {
  const Type indices{DType::i64, {3, 4}, {}};
  return {{{indices}, {{"depth", std::int64_t{6}}}, -7, 8},
          {{indices},
           {{"depth", std::int64_t{5}}, {"axis", std::int64_t{1}}, {"dtype", std::string("i32")}},
           0,
           5}};
}
std::vector<Sample> log_softmax_samples() {
  return {{{f32({3, 10})}, {}},
          {{f32({2, 49, 49})}, {{"axis", std::int64_t{-1}}}, -4, 4},
          {{f32({2, 6, 4, 3})}, {{"axis", std::int64_t{1}}}}};
}

struct LineOp {
  std::string_view name, doc;
  std::vector<AttributeSpec> attributes;
  std::vector<Type> (*infer)(const InferContext&);
  Gradient gradient;
  PrecisionPolicy precision;
  Decomposition decomposition;
  Cost cost;
  OnnxMapping onnx;
  Samples::Make samples;
};

OpDef line_op(LineOp op) {
  return OpDef{.name = op.name,
               .doc = op.doc,
               .signature = Signature({"x"}, {"y"}),
               .attributes = std::move(op.attributes),
               .infer = op.infer,
               .gradient = op.gradient,
               .layout = LayoutRole::plain,
               .aliasing = Aliasing::fresh,
               .precision = op.precision,
               .decomposition = op.decomposition,
               .cost = op.cost,
               .onnx = op.onnx,
               .samples = Samples::cases(op.samples)};
}

OpDef arg_op(std::string_view name, std::string_view doc, std::string_view onnx) {
  return line_op({name,
                  doc,
                  {{"axis", std::int64_t{0}}, {"keepdims", true}, {"select_last_index", false}},
                  infer_arg,
                  Gradient::none("a position is a whole number"),
                  PrecisionPolicy::follow,
                  Decomposition::primitive(),
                  Cost::memory(elements_read),
                  OnnxMapping::op(onnx, 12),
                  arg_samples});
}

}  // namespace

std::vector<OpDef> line_ops() {
  std::vector<OpDef> list;
  list.push_back(arg_op("arg_max",
                        "Where along the axis the largest element stands, the first (or last) of "
                        "equal ones; i64.",
                        "ArgMax"));
  list.push_back(arg_op("arg_min",
                        "Where along the axis the smallest element stands, the first (or last) of "
                        "equal ones; i64.",
                        "ArgMin"));
  list.push_back(
      line_op({"cum_sum",
               "Sums of the elements up to each one along the axis, without itself when "
               "exclusive, from the end when reverse.",
               {{"axis", std::int64_t{0}, true}, {"exclusive", false}, {"reverse", false}},
               infer_cum_sum,
               Gradient::rule(cum_sum_gradient),
               PrecisionPolicy::f32,
               Decomposition::primitive(),
               Cost::memory(elements_read),
               OnnxMapping::op("CumSum", 11),
               cum_sum_samples}));
  list.push_back(line_op({"one_hot",
                          "1 at each index along a new axis of `depth`, else 0. Negative indices "
                          "count from the end, others outside give zeros.",
                          {{"depth", std::int64_t{0}, true},
                           {"axis", std::int64_t{-1}},
                           {"dtype", std::string("f32")}},
                          infer_one_hot,
                          Gradient::none("it is constant between whole numbers"),
                          PrecisionPolicy::follow,
                          Decomposition::primitive(),
                          Cost::memory(elements_written),
                          OnnxMapping::op("OneHot", 11),
                          one_hot_samples}));
  list.push_back(line_op({"log_softmax",
                          "x - max - ln(sum(exp(x - max))) along one axis.",
                          {{"axis", std::int64_t{-1}}},
                          infer_log_softmax,
                          Gradient::rule(log_softmax_gradient),
                          PrecisionPolicy::follow,
                          Decomposition::rule(decompose_log_softmax),
                          Cost::memory(five_per_element),
                          OnnxMapping::op("LogSoftmax", 13),
                          log_softmax_samples}));
  return list;
}

}  // namespace facet::ops
