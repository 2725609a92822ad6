#include "passes/strided_view.h"

#include <utility>

#include "ir/layout.h"
#include "ir/op.h"

namespace facet {
namespace {

/// Strides of a dense value, 0 along extents of 1; none if an inner extent is symbolic.
std::optional<Ints> row_major(const Shape& shape) {
  Ints strides(shape.size(), 0);
  std::int64_t stride = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    if (!shape[axis].is_static() && axis > 0) return std::nullopt;
    if (!(shape[axis] == Dim(1))) strides[axis] = stride;
    stride *= shape[axis].factor;
  }
  return strides;
}

}  // namespace

std::optional<StridedView> reshaped(const StridedView& view, const Shape& shape) {
  auto strides = reshaped_strides(view.shape, view.strides, shape);
  if (!strides) return std::nullopt;
  return StridedView{view.base, shape, std::move(*strides), view.offset};
}

namespace {

/// `view` of the node's operand, seen through the node; none if it is no view op or strides cannot
/// say it.
std::optional<StridedView> through(const StridedView& view, const Node& node) {
  const Shape& shape = node.result_types()[0].shape;
  const Attributes& a = node.attributes();
  if (node.is("reshape")) return reshaped(view, shape);
  StridedView result{view.base, shape, {}, view.offset};
  if (node.is("transpose")) {
    for (const std::int64_t axis : a.ints("permutation")) {
      result.strides.push_back(view.strides[static_cast<std::size_t>(axis)]);
    }
    return result;
  }
  result.strides = view.strides;
  const std::int64_t axis = a.integer("axis");
  const auto along =
      static_cast<std::size_t>(axis < 0 ? axis + node.operand(0).type().rank() : axis);
  result.offset += a.integer("start") * view.strides[along];
  if (shape[along] == Dim(1)) result.strides[along] = 0;
  return result;
}

/// The constant number that the node multiplies an operand by; none for another node.
std::optional<double> constant_factor(const Node& node) {
  if (!node.is("mul") && !node.is("div")) return std::nullopt;
  if (!(node.result_types()[0] == node.operand(0).type())) return std::nullopt;
  const std::optional<double> number = scalar_constant(node.operand(1));
  if (!number || node.is("mul")) return number;
  return *number != 0 ? std::optional(1 / *number) : std::nullopt;
}

}  // namespace

std::optional<double> scalar_constant(Value value) {
  if (!value.node->is("constant")) return std::nullopt;
  const HostTensor& tensor = value.node->attributes().tensor("value");
  return tensor.element_count() == 1 ? std::optional(tensor.at(0)) : std::nullopt;
}

std::optional<StridedView> strided_view(Value value, double* factor) {
  if (factor != nullptr) *factor = 1;
  const Node& node = *value.node;
  if (node.is("reshape") || node.is("transpose") || node.is("slice")) {
    double ahead = 1;
    if (const auto operand = strided_view(node.operand(0), factor != nullptr ? &ahead : nullptr)) {
      if (std::optional<StridedView> view = through(*operand, node)) {
        if (factor != nullptr) *factor = ahead;
        return view;
      }
    }
  } else if (const auto number = constant_factor(node); factor != nullptr && number) {
    double ahead = 1;
    if (const auto view = strided_view(node.operand(0), &ahead)) {
      *factor = ahead * *number;
      return view;
    }
  }
  const std::optional<Ints> strides = row_major(value.shape());
  if (!strides) return std::nullopt;
  return StridedView{value, value.shape(), *strides, 0};
}

}  // namespace facet
