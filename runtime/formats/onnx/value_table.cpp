#include "runtime/formats/onnx/value_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/reference/reference.h"
#include "ir/error.h"
#include "ir/op.h"

namespace facet::onnx_import {
namespace {

constexpr std::int64_t kMostDimElements = 4096;
/// Elements of all values that one folded sub-graph may have, and its arithmetic.
constexpr std::int64_t kFoldElements = std::int64_t{1} << 21;
constexpr double kFoldFlops = 2e8;
/// Bytes that ConstantOfShape nodes of one model may unfold to (VGG-19's weights are 0.57 GB).
constexpr std::int64_t kFilledBytes = std::int64_t{1} << 30;

HostTensor filled(const Type& type, const HostTensor& fill) {
  HostTensor tensor(type.dtype, static_extents(type.shape));
  const auto size = static_cast<std::size_t>(size_of(type.dtype));
  std::byte* to = tensor.mutable_data();
  for (std::int64_t i = 0; i < tensor.element_count(); ++i, to += size) {
    std::memcpy(to, fill.data(), size);
  }
  return tensor;
}

std::int64_t elements_of(const Shape& shape) {
  std::int64_t count = 1;
  for (const Dim& dim : shape) {
    if (__builtin_mul_overflow(count, dim.factor, &count)) return kFoldElements + 1;
  }
  return count;
}

Parameter describe(const Entry& entry, ParameterRole role) {
  Parameter parameter{entry.name, entry.type, role, {}, true, {}};
  parameter.trainable = entry.kind == Entry::Kind::initializer &&
                        role != ParameterRole::running_mean && role != ParameterRole::running_var;
  if (entry.kind == Entry::Kind::filled) parameter.init.a = entry.fill.at(0);
  return parameter;
}

/// The nodes `value` is computed from, in order; nothing if one of them is not known at import or
/// there is too much of them.
std::optional<std::vector<Node*>> known_cone(const Graph& graph, Value value,
                                             const TensorMap& bindings) {
  std::set<const Node*> wanted{value.node};
  std::vector<Node*> cone;
  std::int64_t elements = 0;
  double flops = 0;
  for (auto it = graph.nodes().rbegin(); it != graph.nodes().rend(); ++it) {
    Node* node = it->get();
    if (!wanted.contains(node)) continue;
    if (node->is("input") && !bindings.contains(node->attributes().text("name")))
      return std::nullopt;
    for (const Type& type : node->result_types()) {
      if (!is_static(type.shape)) return std::nullopt;
      elements += elements_of(type.shape);
    }
    if (elements > kFoldElements) return std::nullopt;
    flops += node->op().cost.flops(*node);
    if (flops > kFoldFlops) return std::nullopt;
    for (const Value& operand : node->operands()) wanted.insert(operand.node);
    cone.push_back(node);
  }
  std::reverse(cone.begin(), cone.end());
  return cone;
}

}  // namespace

bool DimTensor::is_static() const {
  return std::ranges::all_of(elements, [](const auto& e) { return e && e->is_static(); });
}

HostTensor DimTensor::tensor() const {
  std::vector<double> values;
  for (const std::optional<Dim>& element : elements) {
    values.push_back(static_cast<double>(element.value().factor));
  }
  HostTensor result = HostTensor(DType::i64, shape);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    result.as_mutable<std::int64_t>()[i] = elements[i].value().factor;
  }
  return result.cast(dtype);
}

std::optional<DimTensor> dim_tensor(const HostTensor& tensor) {
  if (tensor.element_count() > kMostDimElements) return std::nullopt;
  DimTensor result{tensor.dtype(), tensor.shape(), {}};
  for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
    if (tensor.dtype() == DType::i64) {
      result.elements.emplace_back(Dim(tensor.as<std::int64_t>()[i]));
      continue;
    }
    const double value = tensor.at(i);
    if (!(std::abs(value) < 0x1p53) || std::trunc(value) != value) return std::nullopt;
    result.elements.emplace_back(Dim(static_cast<std::int64_t>(value)));
  }
  return result;
}

Entry* ValueTable::find(const std::string& name) const {
  const auto it = entries_.find(name);
  return it != entries_.end() ? it->second.get() : nullptr;
}

void ValueTable::define(const std::string& name, Entry entry) {
  if (entry.name.empty()) entry.name = name;
  if (!entries_.emplace(name, std::make_shared<Entry>(std::move(entry))).second) {
    throw failure(fmt::format("the value '{}' is defined twice", name));
  }
}

void ValueTable::alias(const std::string& name, const std::string& of) {
  if (!entries_.emplace(name, entries_.at(of)).second) {
    throw failure(fmt::format("the value '{}' is defined twice", name));
  }
}

Value ValueTable::read(Entry& entry, ParameterRole role) {
  if (entry.value) return entry.value;
  switch (entry.kind) {
    case Entry::Kind::unavailable:
      throw failure(fmt::format("'{}' could not be imported", entry.name));
    case Entry::Kind::computed:
      if (!entry.dims->is_static()) {
        throw failure(
            fmt::format("'{}' is a shape with dynamic dimensions, used as data; give them "
                        "extents (--dim NAME=EXTENT)",
                        entry.name));
      }
      entry.tensor = entry.dims->tensor();
      break;
    case Entry::Kind::filled: {
      const HostTensor empty;
      filled_bytes_ += elements_of(entry.type.shape) * size_of(entry.type.dtype);
      if (elements_of(entry.type.shape) > kFilledBytes || filled_bytes_ > kFilledBytes) {
        throw failure(fmt::format("'{}' {} and other ConstantOfShape unfold to more than {} bytes",
                                  entry.name, to_string(entry.type), kFilledBytes));
      }
      entry.tensor = filled(entry.type, entry.fill);
      break;
    }
    default:
      break;
  }
  entry.value = read_tensor(entry, role);
  return entry.value;
}

Value ValueTable::read_tensor(Entry& entry, ParameterRole role) {
  const bool is_parameter =
      (entry.kind == Entry::Kind::initializer || entry.kind == Entry::Kind::filled) &&
      is_float(entry.type.dtype) && entry.type.rank() > 0;
  if (!is_parameter) {
    return graph_.create("constant", {}, {{"value", entry.tensor}}, {entry.name, {}, {}})->result();
  }
  graph_.parameters().push_back(describe(entry, role));
  weights_[entry.name] = entry.tensor;
  parameter_order_[entry.name] = entry.order;
  return graph_.read_parameter(entry.name)->result();
}

std::optional<HostTensor> ValueTable::known(Entry& entry) {
  if (!entry.tensor.empty()) return entry.tensor;
  if (entry.dims)
    return entry.dims->is_static() ? std::optional(entry.dims->tensor()) : std::nullopt;
  if (entry.kind == Entry::Kind::filled) {
    if (elements_of(entry.type.shape) > kFoldElements) return std::nullopt;
    return filled(entry.type, entry.fill);
  }
  return entry.value ? fold(entry.value) : std::nullopt;
}

std::optional<DimTensor> ValueTable::known_dims(Entry& entry) {
  if (entry.dims) return entry.dims;
  if (entry.kind == Entry::Kind::unavailable || !is_static(entry.type.shape)) return std::nullopt;
  if (elements_of(entry.type.shape) > kMostDimElements) return std::nullopt;
  const std::optional<HostTensor> tensor = known(entry);
  return tensor ? dim_tensor(*tensor) : std::nullopt;
}

std::optional<HostTensor> ValueTable::fold(Value value) {
  const auto memo = folded_.find(value);
  if (memo != folded_.end()) return memo->second;
  std::optional<HostTensor>& result = folded_[value];
  const std::optional<std::vector<Node*>> cone = known_cone(graph_, value, bindings_);
  if (!cone) return result;
  Graph part("constants");
  std::map<Value, Value> twins;
  for (const Parameter& parameter : graph_.parameters()) part.parameters().push_back(parameter);
  for (Node* node : *cone) {
    std::vector<Value> operands;
    for (const Value& operand : node->operands()) operands.push_back(twins.at(operand));
    Node* twin =
        part.create(node->op(), std::move(operands), node->attributes(), node->provenance());
    for (int i = 0; i < node->result_count(); ++i) twins[node->result(i)] = twin->result(i);
    if (node->is("input")) bound_.insert(node->attributes().text("name"));
  }
  part.outputs().push_back({"value", twins.at(value)});
  result = evaluate(part, bindings_, weights_).at("value").cast(value.dtype());
  return result;
}

void ValueTable::sort_parameters() {
  std::stable_sort(graph_.parameters().begin(), graph_.parameters().end(),
                   [&](const Parameter& a, const Parameter& b) {
                     return parameter_order_[a.key] < parameter_order_[b.key];
                   });
}

}  // namespace facet::onnx_import
