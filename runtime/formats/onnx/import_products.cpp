#include "runtime/formats/onnx/import_math.h"

// Matrices: products of any ranks, layers, triangles. A layer comes out as the DSL makes it, so that the same
// passes match.

namespace facet::onnx_import {
namespace {

/// The weight [in, out] of x * weight as `linear` reads it: [out, in].
Value transposed(NodeReader& node, Value weight) {
  if (weight.node->is("transpose")) return weight.node->operand(0);  // of rank 2: there and back
  return node.transpose(weight, {1, 0});
}

/// Computed from parameters and constants alone, as far as a look at the node tells.
bool is_weight(Value value) {
  if (value.type().rank() != 2) return false;
  const Node* node = value.node;
  while (node->is("transpose") || node->is("reshape")) node = node->operand(0).node;
  return node->is("parameter") || node->is("constant");
}

Value scaled(NodeReader& node, Value value, double factor) {
  return factor == 1 ? value : node.make("mul", {value, node.scalar(factor, value)});
}

/// alpha * A' * B' + beta * C; the usual fully connected layer becomes one `linear`.
void import_gemm(NodeReader& node) {
  const double alpha = node.number("alpha", 1);
  const double beta = node.number("beta", 1);
  if (node.rank(0) != 2 || node.rank(1) != 2) node.unsupported("operands that are no matrices");
  Value a = node.input(0);
  const Value b = node.input(1, ParameterRole::weight);
  const bool transposed_b = node.flag("transB", false);
  const bool layer = is_float(a.dtype()) && a.dtype() == b.dtype() && is_weight(b);
  if (layer) {
    if (node.flag("transA", false)) a = node.transpose(a, {1, 0});
    const Value weight = transposed_b ? b : transposed(node, b);
    const bool bias =
        node.has_input(2) && alpha == 1 && beta == 1 && node.shape(2) == Shape{weight.shape()[0]};
    if (bias) {
      return node.set(node.make("linear", {a, weight, node.input(2, ParameterRole::bias)},
                                {{"epilogue", Strings{"bias"}}}));
    }
    a = node.make("linear", {a, weight});
  } else {
    a = node.make("matmul", {a, b},
                  {{"transpose_a", node.flag("transA", false)}, {"transpose_b", transposed_b}});
  }
  a = scaled(node, a, alpha);
  if (node.has_input(2)) {
    a = node.make("add", {a, scaled(node, node.input(2, ParameterRole::bias), beta)});
  }
  node.set(a);
}

void import_matmul(NodeReader& node) {
  const Value a = node.input(0), b = node.input(1, ParameterRole::weight);
  if (is_float(a.dtype()) && a.dtype() == b.dtype() && is_weight(b) && a.type().rank() > 0) {
    return node.set(node.make("linear", {a, transposed(node, b)}));
  }
  node.set(matmul(node, a, b));
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
  table.add("MatMul", import_matmul);
  table.add("Trilu", import_trilu);
}

}  // namespace facet::onnx_import
