#include "runtime/formats/onnx/import_math.h"

// Matrices: products of any ranks, triangles.

namespace facet::onnx_import {
namespace {

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

void add_product_handlers(HandlerTable& table) { table.add("Trilu", import_trilu); }

}  // namespace facet::onnx_import
