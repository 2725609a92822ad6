#include "runtime/formats/onnx/shape_arithmetic.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/formats/onnx/node_reader.h"
#include "runtime/formats/onnx/tensor_proto.h"
#include "runtime/formats/onnx/value_table.h"

namespace facet::onnx_import {
namespace {

using Element = std::optional<Dim>;
using Operands = std::vector<DimTensor>;

Element checked(std::int64_t factor, bool overflow, const std::string& symbol = {}) {
  if (overflow) return std::nullopt;
  return factor == 0 ? Dim(0) : Dim(symbol, factor);
}

Element add(const Dim& a, const Dim& b, int sign) {
  if (b.factor == 0) return a;
  if (a.factor != 0 && a.symbol != b.symbol) return std::nullopt;
  std::int64_t sum = 0;
  const bool overflow = sign > 0 ? __builtin_add_overflow(a.factor, b.factor, &sum)
                                 : __builtin_sub_overflow(a.factor, b.factor, &sum);
  return checked(sum, overflow, b.symbol);
}

Element multiply(const Dim& a, const Dim& b) {
  if (!a.is_static() && !b.is_static()) return std::nullopt;
  std::int64_t product = 0;
  const bool overflow = __builtin_mul_overflow(a.factor, b.factor, &product);
  return checked(product, overflow, a.is_static() ? b.symbol : a.symbol);
}

/// Of whole numbers towards zero, as ONNX divides integers; multiples of symbols must divide
/// evenly.
Element divide(const Dim& a, const Dim& b) {
  if (b.factor == 0 || (a.factor == INT64_MIN && b.factor == -1)) return std::nullopt;
  if (a.is_static() && b.is_static()) return Dim(a.factor / b.factor);
  if (a.factor % b.factor != 0) return std::nullopt;
  if (a.symbol == b.symbol) return Dim(a.factor / b.factor);
  return b.is_static() ? checked(a.factor / b.factor, false, a.symbol) : std::nullopt;
}

Element modulo(const Dim& a, const Dim& b) {
  if (b.factor <= 0 || !b.is_static()) return std::nullopt;
  if (a.factor % b.factor == 0) return Dim(0);
  if (!a.is_static() || a.factor < 0) return std::nullopt;
  return Dim(a.factor % b.factor);
}

/// -1, 0 or 1 where the order is sure: a symbol is at least 1.
std::optional<int> compare(const Dim& a, const Dim& b) {
  if (a.symbol == b.symbol) return a.factor < b.factor ? -1 : a.factor > b.factor ? 1 : 0;
  if (a.is_static() && b.factor > 0 && a.factor < b.factor) return -1;
  if (b.is_static() && a.factor > 0 && b.factor < a.factor) return 1;
  return std::nullopt;
}

/// The greater (`wanted` 1) or the smaller (-1) of two.
Element choose(const Dim& a, const Dim& b, int wanted) {
  // A multiple of a symbol is at least its factor.
  if (a.is_static() && !b.is_static() && a.factor <= b.factor) return wanted > 0 ? b : a;
  if (b.is_static() && !a.is_static() && b.factor <= a.factor) return wanted > 0 ? a : b;
  const std::optional<int> order = compare(a, b);
  if (!order) return std::nullopt;
  return *order * wanted >= 0 ? a : b;
}

Element truth(std::optional<bool> value) {
  return value ? Element(Dim(*value ? 1 : 0)) : std::nullopt;
}

using Binary = Element (*)(const Dim&, const Dim&);
const std::map<std::string_view, Binary>& binaries() {
  static const std::map<std::string_view, Binary> table = {
      {"Add", [](const Dim& a, const Dim& b) { return add(a, b, 1); }},
      {"Sub", [](const Dim& a, const Dim& b) { return add(a, b, -1); }},
      {"Mul", multiply},
      {"Div", divide},
      {"Mod", modulo},
      {"Max", [](const Dim& a, const Dim& b) { return choose(a, b, 1); }},
      {"Min", [](const Dim& a, const Dim& b) { return choose(a, b, -1); }},
      {"Equal",
       [](const Dim& a, const Dim& b) {
         const auto order = compare(a, b);
         return truth(order ? std::optional(*order == 0) : std::nullopt);
       }},
      {"Less",
       [](const Dim& a, const Dim& b) {
         const auto order = compare(a, b);
         return truth(order ? std::optional(*order < 0) : std::nullopt);
       }},
      {"Greater",
       [](const Dim& a, const Dim& b) {
         const auto order = compare(a, b);
         return truth(order ? std::optional(*order > 0) : std::nullopt);
       }},
  };
  return table;
}

bool is_comparison(std::string_view op) { return op == "Equal" || op == "Less" || op == "Greater"; }

/// The shape several operands of rank 0 or 1 broadcast to; nothing for other ranks.
std::optional<Ints> common_shape(const Operands& operands) {
  Ints shape;
  for (const DimTensor& operand : operands) {
    if (operand.shape.size() > 1) return std::nullopt;
    if (operand.shape.empty()) continue;
    if (shape.empty() || shape[0] == 1) {
      shape = operand.shape;
    } else if (operand.shape[0] != 1 && operand.shape[0] != shape[0]) {
      return std::nullopt;
    }
  }
  return shape;
}

const Element& at(const DimTensor& tensor, std::size_t i) {
  return tensor.elements[tensor.elements.size() == 1 ? 0 : i];
}

std::optional<DimTensor> elementwise(std::string_view op, const Operands& operands) {
  const auto function = binaries().find(op);
  if (function == binaries().end() || operands.size() != 2) return std::nullopt;
  // Division of floats is not that of integers.
  if (op == "Div" && (is_float(operands[0].dtype) || is_float(operands[1].dtype)))
    return std::nullopt;
  const std::optional<Ints> shape = common_shape(operands);
  if (!shape) return std::nullopt;
  DimTensor result{is_comparison(op) ? DType::boolean : operands[0].dtype, *shape, {}};
  const std::size_t count = shape->empty() ? 1 : static_cast<std::size_t>((*shape)[0]);
  for (std::size_t i = 0; i < count; ++i) {
    const Element& a = at(operands[0], i);
    const Element& b = at(operands[1], i);
    result.elements.push_back(a && b ? function->second(*a, *b) : std::nullopt);
  }
  return result;
}

std::optional<DimTensor> where(const Operands& operands) {
  if (operands.size() != 3) return std::nullopt;
  const std::optional<Ints> shape = common_shape(operands);
  if (!shape) return std::nullopt;
  DimTensor result{operands[1].dtype, *shape, {}};
  const std::size_t count = shape->empty() ? 1 : static_cast<std::size_t>((*shape)[0]);
  for (std::size_t i = 0; i < count; ++i) {
    const Element& condition = at(operands[0], i);
    Element chosen;
    if (condition) {
      chosen = at(operands[condition->factor != 0 ? 1 : 2], i);
    } else if (at(operands[1], i) == at(operands[2], i)) {
      chosen = at(operands[1], i);
    }
    result.elements.push_back(chosen);
  }
  return result;
}

std::optional<DimTensor> gather(const Operands& operands) {
  const DimTensor& data = operands[0];
  const DimTensor& indices = operands[1];
  if (data.shape.size() != 1) return std::nullopt;
  DimTensor result{data.dtype, indices.shape, {}};
  for (const Element& index : indices.elements) {
    if (!index || !index->is_static()) return std::nullopt;
    const std::int64_t i = index->factor < 0 ? index->factor + data.shape[0] : index->factor;
    if (i < 0 || i >= data.shape[0]) return std::nullopt;
    result.elements.push_back(data.elements[static_cast<std::size_t>(i)]);
  }
  return result;
}

std::optional<DimTensor> concat(const Operands& operands) {
  DimTensor result{operands[0].dtype, {0}, {}};
  for (const DimTensor& operand : operands) {
    if (operand.shape.size() != 1) return std::nullopt;
    result.elements.insert(result.elements.end(), operand.elements.begin(), operand.elements.end());
  }
  result.shape[0] = static_cast<std::int64_t>(result.elements.size());
  return result;
}

/// The only element of operand i, or of the attribute that was in its place in old opsets.
std::optional<std::int64_t> single(NodeReader& node, const Operands& operands, std::size_t i,
                                   std::string_view attribute, std::int64_t fallback) {
  if (node.has(attribute)) {
    const Ints values = node.ints(attribute, {});
    return values.size() == 1 ? std::optional(values[0]) : std::nullopt;
  }
  if (i >= operands.size()) return fallback;
  const auto& elements = operands[i].elements;
  if (elements.size() != 1 || !elements[0] || !elements[0]->is_static()) return std::nullopt;
  return elements[0]->factor;
}

std::optional<DimTensor> slice(NodeReader& node, const Operands& operands) {
  const DimTensor& data = operands[0];
  const auto start = single(node, operands, 1, "starts", 0);
  const auto end = single(node, operands, 2, "ends", 0);
  const auto step = single(node, operands, 4, "steps", 1);
  if (data.shape.size() != 1 || !start || !end || !step || *step == 0) return std::nullopt;
  const std::int64_t extent = data.shape[0];
  const auto bounded = [&](std::int64_t at) {
    if (at < 0) at += extent;
    return *step > 0 ? std::clamp<std::int64_t>(at, 0, extent)
                     : std::clamp<std::int64_t>(at, -1, extent - 1);
  };
  DimTensor result{data.dtype, {0}, {}};
  const std::int64_t last = bounded(*end);
  const std::int64_t stride = std::clamp<std::int64_t>(*step, -extent - 1, extent + 1);
  for (std::int64_t i = bounded(*start); stride > 0 ? i < last : i > last; i += stride) {
    result.elements.push_back(data.elements[static_cast<std::size_t>(i)]);
  }
  result.shape[0] = static_cast<std::int64_t>(result.elements.size());
  return result;
}

/// Reshape, Squeeze and Unsqueeze between a number and a list.
std::optional<DimTensor> relist(const DimTensor& data, std::size_t rank) {
  if (data.shape.size() > 1 || rank > 1) return std::nullopt;
  if (rank == 0 && data.elements.size() != 1) return std::nullopt;
  DimTensor result = data;
  result.shape = rank == 0 ? Ints{} : Ints{static_cast<std::int64_t>(data.elements.size())};
  return result;
}

std::optional<DimTensor> reshape(const Operands& operands) {
  if (operands.size() != 2 || operands[1].shape.size() != 1) return std::nullopt;
  return relist(operands[0], operands[1].elements.size());
}

std::optional<DimTensor> product(NodeReader& node, const Operands& operands) {
  if (operands[0].shape.size() != 1) return std::nullopt;
  Element result = Dim(1);
  for (const Element& element : operands[0].elements) {
    result = result && element ? multiply(*result, *element) : std::nullopt;
  }
  return DimTensor{operands[0].dtype, node.flag("keepdims", true) ? Ints{1} : Ints{}, {result}};
}

std::optional<DimTensor> cast(NodeReader& node, const DimTensor& data) {
  DimTensor result = data;
  result.dtype = node.dtype(node.integer("to", 0));
  if (result.dtype != DType::boolean) return result;
  for (Element& element : result.elements) {
    if (element) element = Dim(element->factor != 0 ? 1 : 0);
  }
  return result;
}

std::optional<DimTensor> fold(NodeReader& node, const Operands& operands) {
  const std::string& op = node.op();
  const std::size_t rank = operands[0].shape.size();
  if (op == "Where") return where(operands);
  if (op == "Gather" && operands.size() == 2) return gather(operands);
  if (op == "Concat") return concat(operands);
  if (op == "Slice") return slice(node, operands);
  if (op == "Squeeze") return relist(operands[0], 0);
  if (op == "Unsqueeze" && rank == 0) return relist(operands[0], 1);
  if (op == "Reshape") return reshape(operands);
  if (op == "ReduceProd") return product(node, operands);
  if (op == "Cast") return cast(node, operands[0]);
  const bool whole = op == "Floor" || op == "Ceil" || op == "Round";
  if (whole || op == "Identity") return operands[0];
  return elementwise(op, operands);
}

/// Shape and Size need the type of their input only.
bool fold_shape(NodeReader& node) {
  Shape shape = node.shape(0);
  const auto rank = static_cast<std::int64_t>(shape.size());
  const auto bounded = [&](std::int64_t at) {
    return std::clamp<std::int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  const std::int64_t start = bounded(node.integer("start", 0));
  const std::int64_t end = std::max(start, bounded(node.integer("end", rank)));
  node.set_dims(0, Shape(shape.begin() + start, shape.begin() + end));
  return true;
}

bool fold_size(NodeReader& node) {
  node.set_dims(0, DimTensor{DType::i64, {}, {element_count(node.shape(0))}});
  return true;
}

}  // namespace

bool fold_shape_arithmetic(NodeReader& node) {
  if (node.op() == "Shape") return fold_shape(node);
  if (node.op() == "Size") return fold_size(node);
  Operands operands;
  bool symbolic = false;
  bool integers = true;
  for (int i = 0; i < node.input_count(); ++i) {
    const std::optional<DimTensor> operand = node.has_input(i) ? node.given_dims(i) : std::nullopt;
    if (!operand) return false;
    symbolic = symbolic || !operand->is_static();
    integers = integers && (operand->dtype == DType::i64 || operand->dtype == DType::i32 ||
                            operand->dtype == DType::boolean);
    operands.push_back(*operand);
  }
  if (operands.empty() || (!symbolic && !integers)) return false;
  std::optional<DimTensor> result = fold(node, operands);
  if (!result || node.output_count() != 1) return false;
  node.set_dims(0, *std::move(result));
  return true;
}

}  // namespace facet::onnx_import
