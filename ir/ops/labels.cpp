#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"

// Ops that read labels i64 [N]. A label outside [0, classes) is a row without target: it adds nothing.

namespace facet::ops {
namespace {

Type i64(Shape shape) { return Type{DType::i64, std::move(shape), {}}; }

/// Rows of operand `matrix` [N, C], checked against the labels in operand `labels`.
const Type& matrix_of(const InferContext& context, std::size_t matrix, std::size_t labels) {
  const Type& x = context.operand(matrix);
  const Type& y = context.operand(labels);
  if (x.rank() != 2 || !is_float(x.dtype) || y.dtype != DType::i64 || !(y.shape == Shape{x.shape[0]})) {
    throw usage_error(fmt::format("'{}' takes a matrix [N, C] and labels i64[N], not {} and {}",
                                  context.op.name, to_string(x), to_string(y)));
  }
  return x;
}

void require_shape(const Type& type, const Shape& shape, std::string_view what) {
  if (type.shape == shape) return;
  throw usage_error(fmt::format("{} is {} where {} is needed", what, to_string(type),
                                to_string(shape)));
}

std::vector<Type> infer_cross_entropy(const InferContext& context) {
  const Type& logits = matrix_of(context, 0, 1);
  const Type rows = f32({logits.shape[0]});
  return {rows, rows};
}

std::vector<Type> infer_cross_entropy_bwd(const InferContext& context) {
  const Type& logits = matrix_of(context, 1, 2);
  require_shape(context.operand(0), {logits.shape[0]}, "the cotangent of the loss");
  require_shape(context.operand(3), {logits.shape[0]}, "log_sum_exp");
  return {logits};
}

std::vector<Type> infer_pick(const InferContext& context) {
  const Type& x = matrix_of(context, 0, 1);
  return {Type{x.dtype, {x.shape[0], 1}, {}}};
}

std::vector<Type> infer_pick_bwd(const InferContext& context) {
  const Type& dy = matrix_of(context, 0, 1);
  const std::int64_t classes = context.attributes.integer("classes");
  require_shape(dy, {dy.shape[0], 1}, "the cotangent");
  require_extent("number of classes", classes, 1);
  return {Type{dy.dtype, {dy.shape[0], classes}, {}}};
}

std::vector<Type> infer_place(const InferContext& context) {
  const Type& x = matrix_of(context, 0, 1);
  require_shape(context.operand(2), {x.shape[0], 1}, "the value to place");
  return {x};
}

std::vector<Type> infer_gather_rows(const InferContext& context) {
  const Type& table = context.operand(0);
  const Type& labels = context.operand(1);
  if (table.rank() != 2 || !is_float(table.dtype) || labels.rank() != 1 || labels.dtype != DType::i64) {
    throw usage_error(fmt::format("gather_rows takes a table [C, D] and labels i64[N], not {} and {}",
                                  to_string(table), to_string(labels)));
  }
  return {Type{table.dtype, {labels.shape[0], table.shape[1]}, {}}};
}

std::vector<Type> infer_owed_rows(const InferContext& context) {
  const Type& table = context.operand(0);
  const Type& rows = context.operand(2);
  if (table.rank() != 2 || table.dtype != DType::f32 || rows.rank() != 1 || rows.dtype != DType::i64) {
    throw usage_error(fmt::format("owed_rows takes a table f32[C, D] and rows i64[K], not {} and {}",
                                  to_string(table), to_string(rows)));
  }
  require_shape(context.operand(1), table.shape, "the velocity");
  require_shape(context.operand(3), {rows.shape[0].factor * 4}, "what the rows are owed");
  return {f32({rows.shape[0], table.shape[1]})};
}

std::vector<Type> infer_scatter_add_rows(const InferContext& context) {
  const Type& x = matrix_of(context, 0, 1);
  const std::int64_t rows = context.attributes.integer("rows");
  require_extent("number of rows", rows, 1);
  return {Type{x.dtype, {rows, x.shape[1]}, {}}};
}

double four_per_element(const Node& node) { return 4 * operand_elements(node); }
double three_per_element(const Node& node) { return 3 * result_elements(node); }
double one_per_element(const Node& node) { return result_elements(node); }

std::vector<Sample> cross_entropy_samples() {
  return {{{f32({3, 10}), i64({3})}, {}, 0, 10},
          {{f32({5, 7}), i64({5})}, {{"label_smoothing", 0.1}}, -2, 9}};
}
std::vector<Sample> cross_entropy_bwd_samples() {
  return {{{f32({3}), f32({3, 10}), i64({3}), f32({3})}, {}, 0, 10},
          {{f32({5}), f32({5, 7}), i64({5}), f32({5})}, {{"label_smoothing", 0.1}}, -2, 9}};
}
std::vector<Sample> pick_samples() {
  return {{{f32({3, 10}), i64({3})}, {}, 0, 10}, {{f32({40, 7}), i64({40})}, {}, -2, 9}};
}
std::vector<Sample> pick_bwd_samples() {
  return {{{f32({3, 1}), i64({3})}, {{"classes", std::int64_t{10}}}, 0, 10},
          {{f32({40, 1}), i64({40})}, {{"classes", std::int64_t{7}}}, -2, 9}};
}
std::vector<Sample> place_samples() {
  return {{{f32({3, 10}), i64({3}), f32({3, 1})}, {}, 0, 10},
          {{f32({40, 7}), i64({40}), f32({40, 1})}, {}, -2, 9}};
}
std::vector<Sample> gather_samples() {
  return {{{f32({10, 5}), i64({3})}, {}, 0, 10}, {{f32({7, 33}), i64({40})}, {}, -2, 9}};
}
std::vector<Sample> owed_samples() {
  return {{{f32({10, 5}), f32({10, 5}), i64({3}), f32({12})}, {}, 0, 10},
          {{f32({7, 33}), f32({7, 33}), i64({40}), f32({160})}, {}, -2, 9}};
}
std::vector<Sample> scatter_samples() {
  return {{{f32({3, 5}), i64({3})}, {{"rows", std::int64_t{10}}}, 0, 10},
          {{f32({40, 33}), i64({40})}, {{"rows", std::int64_t{7}}}, -2, 9}};
}

struct LabelOp {
  std::string_view name, doc;
  Signature signature;
  std::vector<AttributeSpec> attributes;
  std::vector<Type> (*infer)(const InferContext&);
  Gradient gradient;
  Cost cost;
  Samples::Make samples;
};

OpDef label_op(LabelOp op) {
  return OpDef{.name = op.name,
               .doc = op.doc,
               .signature = std::move(op.signature),
               .attributes = std::move(op.attributes),
               .infer = op.infer,
               .gradient = op.gradient,
               .layout = LayoutRole::plain,
               .aliasing = Aliasing::fresh,
               .precision = PrecisionPolicy::f32,
               .decomposition = Decomposition::primitive(),
               .cost = op.cost,
               .onnx = OnnxMapping::none("losses are not exported"),
               .samples = Samples::cases(op.samples)};
}

}  // namespace

std::vector<OpDef> label_ops() {
  const Gradient none = Gradient::none("second derivatives are not supported");
  const AttributeSpec smoothing{"label_smoothing", 0.0};
  const auto memory = [](Cost::Flops flops) { return Cost::memory(flops); };
  std::vector<OpDef> list;
  list.push_back(
      label_op({"cross_entropy",
                "log_sum_exp - ((1 - s) * logits[label] + s / C * sum(logits)) for every "
                "row, s the label smoothing; 0 without target.",
                Signature({"logits", "labels"}, {"loss", "log_sum_exp"}),
                {smoothing},
                infer_cross_entropy,
                Gradient::rule(cross_entropy_gradient),
                memory(four_per_element),
                cross_entropy_samples}));
  list.push_back(label_op({"cross_entropy_bwd",
                           "dloss * (exp(logits - log_sum_exp) - (1 - s) * onehot - s / C); 0 without "
                           "target.",
                           Signature({"dloss", "logits", "labels", "log_sum_exp"}, {"dlogits"}),
                           {smoothing}, infer_cross_entropy_bwd, none, memory(one_per_element),
                           cross_entropy_bwd_samples}));
  list.push_back(label_op({"pick",
                           "x[n, labels[n]]; 0 without target.",
                           Signature({"x", "labels"}, {"y"}),
                           {},
                           infer_pick,
                           Gradient::rule(pick_gradient),
                           memory(one_per_element),
                           pick_samples}));
  list.push_back(label_op({"pick_bwd", "Zeros [N, classes], but dy[n] in column labels[n].",
                           Signature({"dy", "labels"}, {"dx"}),
                           {{"classes", std::int64_t{0}, true}}, infer_pick_bwd, none,
                           memory(one_per_element), pick_bwd_samples}));
  list.push_back(label_op({"place",
                           "x, but v[n] in column labels[n].",
                           Signature({"x", "labels", "v"}, {"y"}),
                           {},
                           infer_place,
                           Gradient::rule(place_gradient),
                           memory(one_per_element),
                           place_samples}));
  list.push_back(label_op({"gather_rows",
                           "Row labels[n] of the table; zeros without target.",
                           Signature({"table", "labels"}, {"y"}),
                           {},
                           infer_gather_rows,
                           Gradient::rule(gather_rows_gradient),
                           memory(one_per_element),
                           gather_samples}));
  list.push_back(label_op({"owed_rows",
                           "owed[4 k] * table[rows[k]] + owed[4 k + 1] * velocity[rows[k]]: a row of a "
                           "table under sgd_update after the steps that passed it by; zeros for a row "
                           "that there is not.",
                           Signature({"table", "velocity", "rows", "owed"}, {"y"}),
                           {},
                           infer_owed_rows,
                           Gradient::none("it is differentiated by the rows, which are its result"),
                           memory(three_per_element),
                           owed_samples}));
  list.push_back(label_op({"scatter_add_rows",
                           "Sums of the rows of x that have the same label.",
                           Signature({"x", "labels"}, {"y"}),
                           {{"rows", std::int64_t{0}, true}},
                           infer_scatter_add_rows,
                           Gradient::rule(scatter_add_rows_gradient),
                           memory(four_per_element),
                           scatter_samples}));
  return list;
}

}  // namespace facet::ops
