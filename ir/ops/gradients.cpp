#include "ir/ops/gradients.h"

// What gradient rules share.

namespace facet::ops {

bool takes_cotangent(Value value) { return is_float(value.dtype()) && !value.node->is("constant"); }

Value cast_like(Builder& build, Value cotangent, Value value) {
  if (cotangent.dtype() == value.dtype()) return cotangent;
  return build("cast", {cotangent}, {{"dtype", std::string(to_string(value.dtype()))}});
}

Value reshape_to(Builder& build, Value x, const Shape& shape) {
  if (x.shape() == shape) return x;
  return build("reshape", {x}, {{"shape", static_extents(shape)}});
}

Value sum_to(Builder& build, Value cotangent, Value value) {
  const Shape& from = cotangent.shape();
  const Shape& to = value.shape();
  const std::size_t leading = from.size() - to.size();
  Ints axes;
  for (std::size_t axis = 0; axis < from.size(); ++axis) {
    if (axis < leading || !(from[axis] == to[axis - leading])) {
      axes.push_back(static_cast<std::int64_t>(axis));
    }
  }
  if (!axes.empty()) cotangent = build("reduce_sum", {cotangent}, {{"axes", std::move(axes)}});
  return cast_like(build, reshape_to(build, cotangent, to), value);
}

Value expand_to(Builder& build, Value x, const Shape& shape) {
  if (x.shape() == shape) return x;
  return build("expand", {x}, {{"shape", static_extents(shape)}});
}

Values zero_gradient(Builder&, Node& node, Cotangents) {
  return Values(static_cast<std::size_t>(node.operand_count()));
}

Values identity_gradient(Builder&, Node&, Cotangents cotangents) { return {cotangents[0]}; }

}  // namespace facet::ops
