#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "ir/op.h"
#include "runtime/formats/onnx/node_reader.h"
#include "runtime/formats/onnx/value_table.h"

// What a NodeReader builds for its handler.

namespace facet::onnx_import {

Value NodeReader::make(std::string_view op, std::vector<Value> operands, Attributes attributes) {
  return make_node(op, std::move(operands), std::move(attributes))->result();
}

Node* NodeReader::make_node(std::string_view op, std::vector<Value> operands,
                            Attributes attributes) {
  return values_.graph().create(op, std::move(operands), std::move(attributes), {name(), {}, {}});
}

Value NodeReader::constant(HostTensor value) {
  return make("constant", {}, {{"value", std::move(value)}});
}

Value NodeReader::scalar(double value, DType dtype) {
  return constant(HostTensor::scalar(dtype, value));
}

Value NodeReader::scalar(double value, Value like) { return scalar(value, like.dtype()); }

Value NodeReader::cast(Value x, DType dtype) {
  if (x.dtype() == dtype) return x;
  return make("cast", {x}, {{"dtype", std::string(to_string(dtype))}});
}

Value NodeReader::reshape(Value x, const Shape& shape) {
  if (x.shape() == shape) return x;
  Ints extents;
  int open = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i].is_static() && shape[i].factor != 0) {
      extents.push_back(shape[i].factor);
    } else if (i < x.shape().size() && x.shape()[i] == shape[i]) {
      extents.push_back(0);
    } else if (open++ == 0) {
      extents.push_back(-1);
    } else {
      unsupported(fmt::format("reshape of {} to {}", to_string(x.type()), to_string(shape)));
    }
  }
  const Value result = make("reshape", {x}, {{"shape", std::move(extents)}});
  if (!(result.shape() == shape)) {
    unsupported(fmt::format("{} cannot be reshaped to {}", to_string(x.type()), to_string(shape)));
  }
  return result;
}

Value NodeReader::expand(Value x, const Shape& shape) {
  if (x.shape() == shape) return x;
  Value value = with_rank(x, static_cast<std::int64_t>(shape.size()));
  if (value.shape() == shape) return value;
  if (!(broadcast(value.shape(), shape) == shape)) {
    unsupported(fmt::format("{} does not broadcast to {}", to_string(x.type()), to_string(shape)));
  }
  if (is_static(shape)) return make("expand", {value}, {{"shape", static_extents(shape)}});
  if (value.dtype() == DType::boolean)
    return cast(expand(cast(value, DType::f32), shape), DType::boolean);
  // An extent that is open until the program runs comes of an input that has it.
  std::vector<std::int64_t> fixed;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const bool grows = !(shape[i] == value.shape()[i]);
    fixed.push_back(grows && shape[i].is_static() ? shape[i].factor : 1);
    if (!grows || shape[i].is_static()) continue;
    Shape line(shape.size(), Dim(1));
    line[i] = shape[i];
    value = make("add", {value, reshape(zeros_along(shape[i], value.dtype()), line)});
  }
  if (value.shape() == shape) return value;
  return make("add", {value, constant(HostTensor(value.dtype(), fixed))});
}

Value NodeReader::zeros_along(const Dim& extent, DType dtype) {
  for (Node* input : values_.graph().inputs()) {
    Value value = input->result();
    const auto at = std::find(value.shape().begin(), value.shape().end(), extent);
    if (at == value.shape().end()) continue;
    const std::ptrdiff_t axis = at - value.shape().begin();
    for (std::int64_t i = 0; i < value.type().rank(); ++i) {
      const Dim& other = value.shape()[static_cast<std::size_t>(i)];
      if (i == axis || other == Dim(1)) continue;
      if (!other.is_static() || other.factor == 0) break;
      value = make("slice", {value},
                   {{"axis", i}, {"start", std::int64_t{0}}, {"end", std::int64_t{1}}});
    }
    if (!(element_count(value.shape()) == extent)) continue;
    // Nothing is greater than itself, infinities and NaN included.
    return cast(make("greater", {value, value}), dtype);
  }
  unsupported(fmt::format(
      "expansion to the dynamic extent {}, which no input has; give it an extent (--dim "
      "{}=EXTENT)",
      to_string(extent), extent.symbol));
}

Value NodeReader::transpose(Value x, const Ints& permutation) {
  Ints identity(permutation.size());
  std::iota(identity.begin(), identity.end(), std::int64_t{0});
  if (identity == permutation && x.type().rank() == static_cast<std::int64_t>(identity.size()))
    return x;
  return make("transpose", {x}, {{"permutation", permutation}});
}

Value NodeReader::with_rank(Value x, std::int64_t rank) {
  Shape shape = x.shape();
  if (x.type().rank() >= rank) return x;
  shape.insert(shape.begin(), static_cast<std::size_t>(rank - x.type().rank()), Dim(1));
  return reshape(x, shape);
}

}  // namespace facet::onnx_import
