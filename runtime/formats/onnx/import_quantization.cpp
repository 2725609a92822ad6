#include <fmt/format.h>

#include "runtime/formats/onnx/import_math.h"
#include "runtime/formats/onnx/import_windows.h"

// Operators of quantised tensors, as arithmetic on what their numbers stand for: whole numbers
// minus their zero point. Products are exact, in i32 or f64; a result is rounded to even and
// saturates.

namespace facet::onnx_import {
namespace {

bool is_byte(DType dtype) { return dtype == DType::u8 || dtype == DType::i8; }

/// Scales or zero points of x: one, one for each index along `axis`, or one for each block of
/// `block` indices along it; in a shape that broadcasts to x's.
Value along(NodeReader& node, Value v, const Shape& x, std::int64_t axis, std::int64_t block) {
  if (element_count(v.shape()) == Dim(1)) return node.reshape(v, {});
  const auto rank = static_cast<std::int64_t>(x.size());
  axis += axis < 0 ? rank : 0;
  if (axis < 0 || axis >= rank) node.unsupported("its axis is outside of its input");
  const auto a = static_cast<std::size_t>(axis);
  if (block == 0) {
    if (v.type().rank() != 1 || !(v.shape()[0] == x[a])) {
      node.unsupported(fmt::format("scales {} do not belong to {} along axis {}",
                                   to_string(v.type()), to_string(x), axis));
    }
    Shape shape(x.size(), Dim(1));
    shape[a] = x[a];
    return node.reshape(v, shape);
  }
  if (v.type().rank() != rank || !x[a].is_static() || !v.shape()[a].is_static()) {
    node.unsupported("its blocks are not of a known extent");
  }
  if (block < 0 || block > x[a].factor) node.unsupported("its blocks are longer than its input");
  Shape shape = v.shape();
  shape.insert(shape.begin() + axis + 1, Dim(1));
  Shape repeated = shape;
  repeated[a + 1] = block;
  Shape joined = v.shape();
  joined[a] = joined[a].factor * block;
  if (joined[a].factor < x[a].factor) node.unsupported("its blocks do not cover its input");
  v = node.reshape(node.expand(node.reshape(v, shape), repeated), joined);
  if (joined[a] == x[a]) return v;
  return node.make("slice", {v},
                   {{"axis", axis}, {"start", std::int64_t{0}}, {"end", x[a].factor}});
}

/// round(x) + zero point, in the dtype of a quantised tensor. `zero` may be null.
Value quantised(NodeReader& node, Value x, Value zero, DType dtype) {
  x = node.make("round", {x});
  if (zero) x = node.make("add", {x, node.cast(zero, x.dtype())});
  return node.cast(x, dtype);
}

/// x minus its zero point, in `dtype`.
Value centred(NodeReader& node, Value x, Value zero, DType dtype) {
  x = node.cast(x, dtype);
  return zero ? node.make("sub", {x, node.cast(zero, dtype)}) : x;
}

void import_quantize(NodeReader& node) {
  DType dtype = DType::u8;
  if (node.has_input(2)) {
    dtype = node.type(2).dtype;
  } else if (node.integer("output_dtype", 0) != 0) {
    dtype = NodeReader::dtype(node.integer("output_dtype", 0));
  }
  if (!is_byte(dtype)) {
    node.unsupported(fmt::format("it quantises to {}, not to u8 or i8", to_string(dtype)));
  }
  const std::int64_t axis = node.integer("axis", 1), block = node.integer("block_size", 0);
  const Value x = node.cast(node.input(0), DType::f32);
  const Value scale = node.cast(along(node, node.input(1), x.shape(), axis, block), DType::f32);
  Value zero;
  if (node.has_input(2)) zero = along(node, node.input(2), x.shape(), axis, block);
  node.set(quantised(node, node.make("div", {x, scale}), zero, dtype));
}

void import_dequantize(NodeReader& node) {
  const DType from = node.type(0).dtype;
  if (!is_byte(from) && from != DType::i32) {
    node.unsupported(fmt::format("it reads {}, not u8, i8 or i32", to_string(from)));
  }
  const std::int64_t axis = node.integer("axis", 1), block = node.integer("block_size", 0);
  const Shape shape = node.shape(0);
  const Value scale = along(node, node.input(1), shape, axis, block);
  Value zero;
  if (node.has_input(2)) zero = along(node, node.input(2), shape, axis, block);
  const Value x = centred(node, node.input(0), zero, scale.dtype());
  node.set(node.make("mul", {x, scale}));
}

/// The range of x with 0 in it is spread over 0..255.
void import_dynamic_quantize(NodeReader& node) {
  const Value x = node.input(0);
  const Ints axes = [&] {
    Ints all;
    for (std::int64_t axis = 0; axis < x.type().rank(); ++axis) all.push_back(axis);
    return all;
  }();
  const auto extreme = [&](const char* reduction, const char* function) {
    Value y = x;
    if (!axes.empty()) y = node.make(reduction, {x}, {{"axes", axes}, {"keepdims", false}});
    return node.make(function, {y, node.scalar(0, x)});
  };
  const Value most = extreme("reduce_max", "maximum"), least = extreme("reduce_min", "minimum");
  const Value spread = node.make("sub", {most, least});
  const Value step = node.make("div", {spread, node.scalar(255, x)});
  const Value scale = node.make("where", {spread, step, node.scalar(1, x)});  // 1 for zeros alone
  const Value below = node.make("div", {node.make("neg", {least}), scale});
  const Value zero =
      node.make("round", {node.make("clamp", {below}, {{"min", 0.0}, {"max", 255.0}})});
  node.set(0, quantised(node, node.make("div", {x, scale}), zero, DType::u8));
  node.set(1, scale);
  node.set(2, node.cast(zero, DType::u8));
}

Value optional_input(NodeReader& node, int i) {
  return node.has_input(i) ? node.input(i) : Value{};
}

/// A zero point or scale of each row [M] of a left factor: [M, 1].
Value of_rows(NodeReader& node, Value v) {
  if (!v || element_count(v.shape()) == Dim(1)) return v ? node.reshape(v, {}) : v;
  return v.type().rank() == 1 ? node.reshape(v, {v.shape()[0], 1}) : v;
}
Value of_columns(NodeReader& node, Value v) {
  return v && element_count(v.shape()) == Dim(1) ? node.reshape(v, {}) : v;
}

/// The exact product of two quantised matrices, i32; zero points may be null.
Value whole_product(NodeReader& node, Value a, Value a_zero, Value b, Value b_zero) {
  if (!is_byte(a.dtype()) || !is_byte(b.dtype()))
    node.unsupported("it multiplies other than u8 and i8");
  return matmul(node, centred(node, a, of_rows(node, a_zero), DType::i32),
                centred(node, b, of_columns(node, b_zero), DType::i32));
}

void import_mat_mul_integer(NodeReader& node) {
  node.set(whole_product(node, node.input(0), optional_input(node, 2), node.input(1),
                         optional_input(node, 3)));
}

/// sums * (a_scale * b_scale / y_scale), quantised. `sums` in any dtype.
Value requantised(NodeReader& node, Value sums, Value a_scale, Value b_scale, Value y_scale,
                  Value y_zero) {
  const auto f32 = [&](Value v) { return node.cast(v, DType::f32); };
  const Value scale =
      node.make("div", {node.make("mul", {f32(a_scale), f32(b_scale)}), f32(y_scale)});
  return quantised(node, node.make("mul", {f32(sums), scale}), y_zero, y_zero.dtype());
}

void import_q_linear_mat_mul(NodeReader& node) {
  const Value sums =
      whole_product(node, node.input(0), node.input(2), node.input(3), node.input(5));
  node.set(requantised(node, sums, of_rows(node, node.input(1)), of_columns(node, node.input(4)),
                       of_columns(node, node.input(6)), of_columns(node, node.input(7))));
}

Attributes window_of(NodeReader& node, const Shape& x, const Shape& weight) {
  if (x.size() != 4 || weight.size() != 4 || !is_static(weight)) {
    node.unsupported("it is no convolution of images");
  }
  Attributes attributes =
      read_window(node, x, {weight[2].factor, weight[3].factor}).attributes();
  attributes.set("groups", node.integer("group", 1));
  attributes.set("epilogue", Strings{});
  return attributes;
}

/// A value for each output channel [M] as [M, 1, 1, 1]; null stays.
Value of_channels(NodeReader& node, Value v, std::int64_t rank) {
  if (!v || element_count(v.shape()) == Dim(1)) return v ? node.reshape(v, {}) : v;
  Shape shape(static_cast<std::size_t>(rank), Dim(1));
  shape[0] = v.shape()[0];
  return node.reshape(v, shape);
}

/// The exact sums of a convolution, f64; padding stands for 0.
Value whole_convolution(NodeReader& node, Value x, Value x_zero, Value w, Value w_zero) {
  if (!is_byte(x.dtype()) || !is_byte(w.dtype()))
    node.unsupported("it convolves other than u8 and i8");
  const Attributes window = window_of(node, x.shape(), w.shape());
  return node.make("conv",
                   {centred(node, x, of_channels(node, x_zero, 1), DType::f64),
                    centred(node, w, of_channels(node, w_zero, 4), DType::f64)},
                   window);
}

void import_conv_integer(NodeReader& node) {
  const Value sums = whole_convolution(node, node.input(0), optional_input(node, 2), node.input(1),
                                       optional_input(node, 3));
  node.set(node.cast(sums, DType::i32));
}

void import_q_linear_conv(NodeReader& node) {
  Value sums = whole_convolution(node, node.input(0), node.input(2), node.input(3), node.input(5));
  if (node.has_input(8)) {
    const Value bias = of_channels(node, node.cast(node.input(8), DType::f64), 3);
    sums = node.make("add", {sums, bias});
  }
  node.set(requantised(node, sums, node.reshape(node.input(1), {}),
                       of_channels(node, node.input(4), 3), node.reshape(node.input(6), {}),
                       node.reshape(node.input(7), {})));
}

}  // namespace

void add_quantization_handlers(HandlerTable& table) {
  table.add("QuantizeLinear", import_quantize);
  table.add("DequantizeLinear", import_dequantize);
  table.add("DynamicQuantizeLinear", import_dynamic_quantize);
  table.add("MatMulInteger", import_mat_mul_integer);
  table.add("ConvInteger", import_conv_integer);
  table.add("QLinearMatMul", import_q_linear_mat_mul);
  table.add("QLinearConv", import_q_linear_conv);
}

}  // namespace facet::onnx_import
