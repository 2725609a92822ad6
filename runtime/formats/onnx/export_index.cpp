#include <fmt/format.h>

#include "ir/error.h"
#include "runtime/formats/onnx/node_writer.h"

// Ops that read and write by index or work along one axis, where ONNX wants more than attributes.

namespace facet::onnx_export {
namespace {

void write_top_k(NodeWriter& w) {
  const Attributes& a = w.attributes();
  w.result("TopK", {w.operand(0), w.ints({a.integer("k")})},
           {{"axis", a.integer("axis")}, {"largest", a.boolean("largest")}, {"sorted", true}});
}

void write_cum_sum(NodeWriter& w) {
  const Attributes& a = w.attributes();
  w.result("CumSum", {w.operand(0), w.integer(a.integer("axis"))},
           {{"exclusive", a.boolean("exclusive")}, {"reverse", a.boolean("reverse")}});
}

/// The values off and on have the result's dtype.
void write_one_hot(NodeWriter& w) {
  const Attributes& a = w.attributes();
  const HostTensor values = HostTensor::from_doubles({2}, {0, 1}).cast(w.result_type().dtype);
  w.result(
      "OneHot",
      {w.operand(0), w.integer(a.integer("depth")), w.add("Constant", {}, {{"value", values}})},
      {{"axis", a.integer("axis")}});
}

std::string triangle_obstacle(const Node& node, int opset) {
  const Shape& x = node.operand(0).shape();
  const bool fixed = x.back().is_static() && x.end()[-2].is_static();
  return fixed ? "" : missing_before(14, opset, "Trilu");
}

/// Ahead of Trilu a choice between x and zero by a constant.
void write_triangle(NodeWriter& w) {
  const bool upper = w.attributes().boolean("upper");
  const std::int64_t diagonal = w.attributes().integer("diagonal");
  if (w.opset() >= 14) {
    return w.result("Trilu", {w.operand(0), w.integer(diagonal)}, {{"upper", upper}});
  }
  const Shape& x = w.type(0).shape;
  HostTensor kept(DType::boolean, {x.end()[-2].factor, x.back().factor});
  for (std::int64_t i = 0; i < kept.shape()[0]; ++i) {
    for (std::int64_t j = 0; j < kept.shape()[1]; ++j) {
      const bool keep = upper ? j - i >= diagonal : j - i <= diagonal;
      kept.as_mutable<std::uint8_t>()[i * kept.shape()[1] + j] = keep ? 1 : 0;
    }
  }
  w.result("Where",
           {w.add("Constant", {}, {{"value", kept}}), w.operand(0), w.scalar(0, w.type(0).dtype)});
}

std::string scatter_obstacle(const Node& node, int opset) {
  const std::string& reduction = node.attributes().text("reduction");
  if (reduction == "none") return "";
  const bool extreme = reduction == "max" || reduction == "min";
  return missing_before(extreme ? 18 : 16, opset,
                        fmt::format("the reduction '{}' of scatters", reduction));
}

void write_scatter(NodeWriter& w) {
  const bool elements = w.node().is("scatter_elements");
  Attributes attributes;
  if (elements) attributes.set("axis", w.attributes().integer("axis"));
  const std::string& reduction = w.attributes().text("reduction");
  if (reduction != "none") attributes.set("reduction", reduction);
  w.result(elements ? "ScatterElements" : "ScatterND", w.operands(), std::move(attributes));
}

}  // namespace

void add_index_writers(WriterTable& table) {
  table.add("top_k", write_top_k);
  table.add("cum_sum", write_cum_sum);
  table.add("one_hot", write_one_hot);
  table.add("triangle", write_triangle, triangle_obstacle);
  table.add("scatter_elements", write_scatter, scatter_obstacle);
  table.add("scatter_nd", write_scatter, scatter_obstacle);
}

}  // namespace facet::onnx_export
