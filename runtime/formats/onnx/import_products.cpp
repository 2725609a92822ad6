#include <algorithm>

#include "runtime/formats/onnx/import_math.h"

// Matrix products. Einsum is in import_einsum.cpp.

namespace facet::onnx_import {
namespace {

/// x times the attribute `name`, which is 1 unless it is given.
Value scaled(NodeReader& node, Value x, const char* name) {
  const double factor = node.number(name, 1);
  if (factor == 1) return x;
  if (is_float(x.dtype())) return node.make("mul", {x, node.scalar(factor, x)});
  const Value product = node.make("mul", {node.cast(x, DType::f64), node.scalar(factor, DType::f64)});
  return node.cast(product, x.dtype());
}

/// A product with a weight [out, in] and, if anything, a bias [out] is a linear layer.
bool is_linear(NodeReader& node, bool transpose_a, bool transpose_b) {
  if (transpose_a || !transpose_b || !is_float(node.type(0).dtype)) return false;
  if (node.number("alpha", 1) != 1) return false;
  if (!node.has_input(2)) return true;
  return node.number("beta", 1) == 1 && node.shape(2) == Shape{node.shape(1)[0]};
}

void import_gemm(NodeReader& node) {
  const bool transpose_a = node.flag("transA", false), transpose_b = node.flag("transB", false);
  if (node.rank(0) != 2 || node.rank(1) != 2) node.unsupported("it multiplies other than matrices");
  const Value a = node.input(0), b = node.input(1, ParameterRole::weight);
  if (is_linear(node, transpose_a, transpose_b)) {
    std::vector<Value> operands{a, b};
    Strings epilogue;
    if (node.has_input(2)) {
      operands.push_back(node.input(2, ParameterRole::bias));
      epilogue.push_back("bias");
    }
    return node.set(node.make("linear", std::move(operands), {{"epilogue", std::move(epilogue)}}));
  }
  Value y = node.make("matmul", {a, b}, {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}});
  y = scaled(node, y, "alpha");
  if (node.has_input(2) && node.number("beta", 1) != 0) {
    const Value c = scaled(node, node.input(2, ParameterRole::bias), "beta");
    if (!(broadcast(y.shape(), c.shape()) == y.shape())) {
      node.unsupported("its C does not broadcast to the product");
    }
    y = node.make("add", {y, c});
  }
  node.set(y);
}

void import_mat_mul(NodeReader& node) {
  node.set(matmul(node, node.input(0), node.input(1, ParameterRole::weight)));
}

void import_trilu(NodeReader& node) {
  const std::int64_t diagonal = node.has_input(1) ? node.integer_input(1) : 0;
  node.set(node.make("triangle", {node.input(0)},
                     {{"upper", node.flag("upper", true)}, {"diagonal", diagonal}}));
}

}  // namespace

Value matmul(NodeReader& node, Value a, Value b) {
  const bool row = a.type().rank() == 1, column = b.type().rank() == 1;
  if (a.type().rank() == 0 || b.type().rank() == 0) node.unsupported("it multiplies a number");
  if (row) a = node.reshape(a, {1, a.shape()[0]});
  if (column) b = node.reshape(b, {b.shape()[0], 1});
  const Value y = node.make("matmul", {a, b});
  Shape shape = y.shape();
  if (column) shape.pop_back();
  if (row) shape.erase(shape.end() - (column ? 1 : 2));
  return node.reshape(y, shape);
}

void add_product_handlers(HandlerTable& table) {
  table.add("Gemm", import_gemm);
  table.add("MatMul", import_mat_mul);
  table.add("Trilu", import_trilu);
}

}  // namespace facet::onnx_import
