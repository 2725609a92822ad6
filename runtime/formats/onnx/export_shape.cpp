#include <limits>

#include "ir/error.h"
#include "runtime/formats/onnx/node_writer.h"

// Ops that move elements. What Facet has as attributes, ONNX mostly takes as integer tensors.

namespace facet::onnx_export {
namespace {

void write_constant(NodeWriter& w) {
  w.result("Constant", {}, {{"value", w.attributes().tensor("value")}});
}

/// 0 copies an extent and -1 is inferred in ONNX, too.
void write_reshape(NodeWriter& w) {
  w.result("Reshape", {w.operand(0), w.ints(w.attributes().ints("shape"))});
}

void write_transpose(NodeWriter& w) {
  w.result("Transpose", {w.operand(0)}, {{"perm", w.attributes().ints("permutation")}});
}

void write_slice(NodeWriter& w) {
  const Attributes& a = w.attributes();
  w.result("Slice", {w.operand(0), w.ints({a.integer("start")}), w.ints({a.integer("end")}),
                     w.ints({a.integer("axis")})});
}

/// From the last element to ahead of the first, however many there are.
void write_reverse(NodeWriter& w) {
  w.result("Slice", {w.operand(0), w.ints({-1}), w.ints({std::numeric_limits<std::int64_t>::min()}),
                     w.ints({w.attributes().integer("axis")}), w.ints({-1})});
}

std::string pad_obstacle(const Node& node, int opset) {
  return node.attributes().text("mode") == "wrap" ? missing_before(19, opset, "Pad's mode wrap")
                                                  : "";
}

/// Paddings of all axes: ahead of each, then behind each.
void write_pad(NodeWriter& w) {
  const Attributes& a = w.attributes();
  const std::int64_t rank = w.type(0).rank();
  const std::int64_t named = a.integer("axis");
  const auto axis = static_cast<std::size_t>(named < 0 ? named + rank : named);
  Ints pads(static_cast<std::size_t>(2 * rank), 0);
  pads[axis] = a.integer("before");
  pads[axis + static_cast<std::size_t>(rank)] = a.integer("after");
  Names inputs{w.operand(0), w.ints(pads)};
  if (a.number("value") != 0) inputs.push_back(w.scalar(a.number("value"), w.type(0).dtype));
  w.result("Pad", std::move(inputs), {{"mode", a.text("mode")}});
}

/// Where the walk ends is not part of it; one that ends at the first element has no such place.
void write_strided_slice(NodeWriter& w) {
  const Attributes& a = w.attributes();
  const std::int64_t step = a.integer("step");
  std::int64_t end = a.integer("start") + a.integer("count") * step;
  if (end < 0) end = std::numeric_limits<std::int64_t>::min();
  w.result("Slice", {w.operand(0), w.ints({a.integer("start")}), w.ints({end}),
                     w.ints({a.integer("axis")}), w.ints({step})});
}

void write_expand(NodeWriter& w) {
  w.result("Expand", {w.operand(0), w.ints(w.attributes().ints("shape"))});
}

}  // namespace

void add_shape_writers(WriterTable& table) {
  table.add("constant", write_constant);
  table.add("reshape", write_reshape);
  table.add("transpose", write_transpose);
  table.add("slice", write_slice);
  table.add("reverse", write_reverse);
  table.add("pad", write_pad, pad_obstacle);
  table.add("strided_slice", write_strided_slice);
  table.add("expand", write_expand);
}

}  // namespace facet::onnx_export
