#include <fmt/format.h>

#include <limits>
#include <map>

#include "ir/error.h"
#include "ir/ops/families.h"

namespace facet {
namespace {

struct OpTable {
  std::vector<OpDef> definitions;
  std::vector<const OpDef*> order;
  std::map<std::string_view, const OpDef*> by_name;

  OpTable() {
    for (auto* family : {ops::leaf_ops, ops::compute_ops, ops::elementwise_ops, ops::reduction_ops,
                         ops::pooling_ops, ops::shape_ops, ops::attention_ops,
                         ops::normalization_ops, ops::backward_ops, ops::label_ops,
                         ops::training_ops, ops::update_ops, ops::volume_ops, ops::windowed_max_ops,
                         ops::resize_ops, ops::deform_ops, ops::math_ops, ops::line_ops,
                         ops::matrix_ops, ops::indexing_ops, ops::scatter_ops, ops::sampling_ops,
                         ops::layer_norm_ops}) {
      for (OpDef& definition : family()) definitions.push_back(std::move(definition));
    }
    for (const OpDef& definition : definitions) {
      order.push_back(&definition);
      by_name.emplace(definition.name, &definition);
    }
  }
};

const OpTable& table() {
  static const OpTable instance;
  return instance;
}

}  // namespace

const std::vector<const OpDef*>& all_ops() { return table().order; }

const OpDef& find_op(std::string_view name) {
  const auto it = table().by_name.find(name);
  if (it != table().by_name.end()) return *it->second;
  std::vector<std::string> known;
  for (const OpDef* op : table().order) known.emplace_back(op->name);
  const std::string hint = did_you_mean(name, known);
  throw usage_error(fmt::format("there is no op '{}'{}{}", name, hint.empty() ? "" : "; ", hint));
}

namespace ops {

std::int64_t normalize_axis(std::int64_t axis, std::int64_t rank) {
  if (axis < -rank || axis >= rank) {
    throw usage_error(fmt::format("axis {} is outside a value of rank {}", axis, rank));
  }
  return axis < 0 ? axis + rank : axis;
}

DType result_dtype(const InferContext& context) {
  DType result = context.operand(0).dtype;
  for (const Type& type : context.operands) {
    if (type.dtype == result) continue;
    if (!is_float(type.dtype) || !is_float(result)) {
      throw usage_error(fmt::format("dtypes {} and {} do not mix", to_string(result),
                                    to_string(type.dtype)));
    }
    const bool wider = type.dtype == DType::f64 || (size_of(type.dtype) < size_of(result) &&
                                                    result != DType::f64);
    if (wider) result = type.dtype;
  }
  return result;
}

void require_floats(const InferContext& context) {
  for (const Type& type : context.operands) {
    if (is_float(type.dtype)) continue;
    throw usage_error(fmt::format("op '{}' takes floats, not {}", context.op.name, to_string(type)));
  }
}

void require_extent(std::string_view what, std::int64_t value, std::int64_t least) {
  if (value < least || value > std::numeric_limits<std::int32_t>::max()) {
    throw usage_error(fmt::format("{} {} is not at least {} and below 2^31", what, value, least));
  }
}

Value as_result(Builder& build, const Node& node, Value value) {
  const DType dtype = node.result_types()[0].dtype;
  if (value.dtype() == dtype) return value;
  return build("cast", {value}, {{"dtype", std::string(to_string(dtype))}});
}

double result_elements(const Node& node) {
  const Dim count = element_count(node.result_types()[0].shape);
  return static_cast<double>(count.factor);
}

double operand_elements(const Node& node) {
  const Dim count = element_count(node.operand(0).shape());
  return static_cast<double>(count.factor);
}

}  // namespace ops
}  // namespace facet
