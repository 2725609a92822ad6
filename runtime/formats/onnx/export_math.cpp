#include "ir/error.h"
#include "runtime/formats/onnx/node_writer.h"

// Elementwise functions and reductions. Those without attributes are written by their mappings.

namespace facet::onnx_export {
namespace {

/// The dtype all operands are brought to: ONNX does not mix them. Facet computes in the widest.
DType common_dtype(const Node& node, int first) {
  DType widest = node.operand(first).dtype();
  for (int i = first; i < node.operand_count(); ++i) {
    if (size_of(node.operand(i).dtype()) > size_of(widest)) widest = node.operand(i).dtype();
  }
  return widest;
}

Names in_dtype(NodeWriter& w, int first, DType dtype) {
  Names names;
  for (int i = first; i < w.node().operand_count(); ++i) {
    names.push_back(w.cast(w.operand(i), w.type(i).dtype, dtype));
  }
  return names;
}

/// The result of an operator that computes in `dtype`.
void finish(NodeWriter& w, std::string_view op, Names inputs, DType dtype) {
  const DType wanted = w.result_type().dtype;
  if (dtype == wanted) return w.result(op, std::move(inputs));
  const std::string value = w.add(op, std::move(inputs));
  w.result("Cast", {value}, {{"to", onnx_dtype_number(wanted)}});
}

void write_binary(NodeWriter& w) {
  const DType dtype = common_dtype(w.node(), 0);
  finish(w, w.node().op().onnx.name(), in_dtype(w, 0, dtype), dtype);
}

/// Facet's comparisons give 1 and 0 in the operands' dtype, ONNX's booleans.
void write_comparison(NodeWriter& w) {
  const DType dtype = common_dtype(w.node(), 0);
  finish(w, w.node().op().onnx.name(), in_dtype(w, 0, dtype), DType::boolean);
}

void write_where(NodeWriter& w) {
  const DType dtype = common_dtype(w.node(), 1);
  Names inputs = in_dtype(w, 1, dtype);
  inputs.insert(inputs.begin(), w.cast(w.operand(0), w.type(0).dtype, DType::boolean));
  finish(w, "Where", std::move(inputs), dtype);
}

void write_clamp(NodeWriter& w) {
  const DType dtype = w.type(0).dtype;
  w.result("Clip", {w.operand(0), w.scalar(w.attributes().number("min"), dtype),
                    w.scalar(w.attributes().number("max"), dtype)});
}

void write_cast(NodeWriter& w) {
  w.result("Cast", {w.operand(0)}, {{"to", onnx_dtype_number(w.result_type().dtype)}});
}

/// Axes are an input of ReduceSum since opset 13, of the others since 18. No axes: all of them to
/// ONNX, none to Facet.
void write_reduction(NodeWriter& w) {
  const Ints& axes = w.attributes().ints("axes");
  if (axes.empty()) return w.result_is(w.operand(0));
  const std::string_view op = w.node().op().onnx.name();
  Attributes attributes{{"keepdims", w.attributes().boolean("keepdims")}};
  Names inputs{w.operand(0)};
  if (w.opset() >= (op == "ReduceSum" ? 13 : 18)) {
    inputs.push_back(w.ints(axes));
  } else {
    attributes.set("axes", axes);
  }
  w.result(op, std::move(inputs), std::move(attributes));
}

/// ONNX's Mod of floats is the truncated one.
void write_mod(NodeWriter& w) {
  const DType dtype = common_dtype(w.node(), 0);
  const Names operands = in_dtype(w, 0, dtype);
  const bool truncated = w.attributes().boolean("truncated");
  if (truncated || !is_float(dtype)) {
    if (w.result_type().dtype == dtype) return w.result("Mod", operands, {{"fmod", truncated}});
    return w.result("Cast", {w.add("Mod", operands, {{"fmod", truncated}})},
                    {{"to", onnx_dtype_number(w.result_type().dtype)}});
  }
  const std::string quotient = w.add("Floor", {w.add("Div", operands)});
  finish(w, "Sub", {operands[0], w.add("Mul", {quotient, operands[1]})}, dtype);
}

std::string bitwise_obstacle(const Node& node, int opset) {
  const DType dtype = node.operand(0).dtype();
  if (node.attributes().text("function").starts_with("shift")) {
    return dtype == DType::u8 ? "" : "BitShift takes unsigned integers";
  }
  return dtype == DType::boolean ? "" : missing_before(18, opset, "the bitwise operators");
}

void write_bitwise(NodeWriter& w) {
  const std::string& function = w.attributes().text("function");
  if (function.starts_with("shift_")) {
    return w.result("BitShift", w.operands(),
                    {{"direction", std::string(function == "shift_left" ? "LEFT" : "RIGHT")}});
  }
  const std::string name = function == "and" ? "And" : function == "or" ? "Or" : "Xor";
  w.result(w.type(0).dtype == DType::boolean ? name : "Bitwise" + name, w.operands());
}

}  // namespace

void add_math_writers(WriterTable& table) {
  for (const char* op : {"add", "sub", "mul", "div", "maximum", "minimum", "pow"}) {
    table.add(op, write_binary);
  }
  for (const char* op : {"greater", "greater_equal", "equal"}) table.add(op, write_comparison);
  table.add("mod", write_mod);
  table.add("bitwise", write_bitwise, bitwise_obstacle);
  table.add("where", write_where);
  table.add("clamp", write_clamp);
  table.add("cast", write_cast);
  for (const char* op : {"reduce_mean", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod"}) {
    table.add(op, write_reduction);
  }
}

}  // namespace facet::onnx_export
