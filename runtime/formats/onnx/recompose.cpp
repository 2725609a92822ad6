#include "runtime/formats/onnx/recompose.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "ir/op.h"
#include "passes/pass.h"

namespace facet {
namespace {

/// The producer of operand `i` if it is of that op and nobody else reads it.
Node* producer(const Node& node, int i, std::string_view op) {
  if (i >= node.operand_count()) return nullptr;
  const Value value = node.operand(i);
  return value.node->is(op) && value.node->graph().use_count(value) == 1 ? value.node : nullptr;
}

/// Replaces `node` by one of another op, at its place.
void replace(Graph& graph, Node* node, std::string_view op, std::vector<Value> operands,
             Attributes attributes = {}) {
  Node* made =
      graph.create(op, std::move(operands), std::move(attributes), node->provenance(), node);
  graph.replace_uses(node->result(), made->result());
  graph.erase(node);
}

bool swaps_last_axes(const Node& node) {
  const Ints& permutation = node.attributes().ints("permutation");
  const std::size_t rank = permutation.size();
  if (rank < 2) return false;
  for (std::size_t i = 0; i + 2 < rank; ++i) {
    if (permutation[i] != static_cast<std::int64_t>(i)) return false;
  }
  return permutation[rank - 1] == static_cast<std::int64_t>(rank - 2);
}

bool absorb_transposes(Node* node) {
  bool changed = false;
  for (const int i : {0, 1}) {
    Node* transpose = node->operand(i).node;
    if (!transpose->is("transpose") || !swaps_last_axes(*transpose)) continue;
    const char* name = i == 0 ? "transpose_a" : "transpose_b";
    node->attributes().set(name, !node->attributes().boolean(name));
    node->set_operand(i, transpose->operand(0));
    changed = true;
  }
  return changed;
}

bool is_parameter(Value value, std::int64_t rank) {
  return value.node->is("parameter") && value.type().rank() == rank;
}

/// Computed from one parameter or constant by moving its elements.
bool is_weight(Value value) {
  const Node* node = value.node;
  while (node->is("transpose") || node->is("reshape")) node = node->operand(0).node;
  return value.type().rank() == 2 && (node->is("parameter") || node->is("constant"));
}

/// A matrix product with a weight is what `linear` means.
bool to_linear(Graph& graph, Node* node) {
  const Attributes& a = node->attributes();
  const Value x = node->operand(0);
  Value weight = node->operand(1);
  if (a.boolean("transpose_a") || !is_weight(weight) || !is_float(x.dtype())) return false;
  if (!a.boolean("transpose_b")) {
    weight =
        graph
            .create("transpose", {weight}, {{"permutation", Ints{1, 0}}}, node->provenance(), node)
            ->result();
  }
  replace(graph, node, "linear", {x, weight});
  return true;
}

/// Unless it reads columns: matrix products can, `linear` cannot.
bool to_matmul(Graph& graph, Node* node) {
  const Node* columns = node->operand(0).node;
  if (!columns->is("transpose") || !swaps_last_axes(*columns) || node->operand_count() != 2 ||
      !node->attributes().strings("epilogue").empty()) {
    return false;
  }
  const Value weight = node->operand(1);
  const bool twice = weight.node->is("transpose");  // of rank 2: there and back
  replace(graph, node, "matmul", {columns->operand(0), twice ? weight.node->operand(0) : weight},
          {{"transpose_a", true}, {"transpose_b", !twice}});
  return true;
}

/// Columns with a bias are rows that were transposed: only `linear` has a bias.
Node* as_linear(Graph& graph, Node* matmul) {
  if (matmul == nullptr || !matmul->attributes().boolean("transpose_a")) return nullptr;
  const Value x = matmul->operand(0);
  Value weight = matmul->operand(1);
  if (!is_weight(weight) || !is_float(x.dtype())) return nullptr;
  Builder build(graph, matmul, matmul->provenance());
  Ints swap(x.shape().size());
  std::iota(swap.begin(), swap.end(), std::int64_t{0});
  std::swap(swap.end()[-1], swap.end()[-2]);
  const Value rows = build("transpose", {x}, {{"permutation", std::move(swap)}});
  if (!matmul->attributes().boolean("transpose_b")) {
    weight = build("transpose", {weight}, {{"permutation", Ints{1, 0}}});
  }
  return build.node("linear", {rows, weight});
}

bool take_bias(Graph& graph, Node* node) {
  for (const int i : {0, 1}) {
    const Value bias = node->operand(1 - i);
    if (!is_parameter(bias, 1) || !(bias.shape()[0] == node->operand(i).shape().back())) continue;
    Node* linear = producer(*node, i, "linear");
    if (linear == nullptr) linear = as_linear(graph, producer(*node, i, "matmul"));
    if (linear == nullptr || !linear->attributes().strings("epilogue").empty()) continue;
    replace(graph, node, "linear", {linear->operand(0), linear->operand(1), bias},
            {{"epilogue", Strings{"bias"}}});
    return true;
  }
  return false;
}

std::int64_t extent(Value value, std::int64_t from_end) {
  const Shape& shape = value.shape();
  const Dim& dim = shape[shape.size() - static_cast<std::size_t>(from_end)];
  return dim.is_static() ? dim.factor : -1;
}

bool is_last_axis(const Node& node) {
  const std::int64_t axis = node.attributes().integer("axis");
  return axis == -1 || axis == node.operand(0).type().rank() - 1;
}

/// The operand of a slice [start, end) of the last axis, or of nothing where it is the whole.
std::optional<Value> sliced(Value value, std::int64_t start, std::int64_t end, bool is_whole) {
  const Node& node = *value.node;
  const bool fits = node.is("slice") && is_last_axis(node) &&
                    node.attributes().integer("start") == start &&
                    node.attributes().integer("end") == end;
  if (fits) return node.operand(0);
  return is_whole ? std::optional(value) : std::nullopt;
}

std::optional<Value> padded(Value value, std::int64_t before, std::int64_t after) {
  const Node& node = *value.node;
  const Attributes& a = node.attributes();
  const bool fits = node.is("pad") && is_last_axis(node) && a.integer("before") == before &&
                    a.integer("after") == after && a.text("mode") == "constant" &&
                    a.number("value") == 0;
  if (fits) return node.operand(0);
  return before == 0 && after == 0 ? std::optional(value) : std::nullopt;
}

/// The operand of a reshape that puts `columns` in place of the operand's last axes, or null.
Value reshaped(Value value, std::size_t from_axes, const Shape& last) {
  if (!value.node->is("reshape")) return {};
  const Value x = value.node->operand(0);
  if (x.shape().size() < from_axes) return {};
  Shape expected(x.shape().begin(), x.shape().end() - static_cast<std::ptrdiff_t>(from_axes));
  expected.insert(expected.end(), last.begin(), last.end());
  return value.shape() == expected ? x : Value();
}

Value without_reverse(Value x, std::string& distance, std::string mirrored) {
  if (!x.node->is("reverse") || !is_last_axis(*x.node)) return x;
  distance = std::move(mirrored);
  return x.node->operand(0);
}

/// y [..., I, J] of x [..., I, I+J-1]: see decompose_skew in ir/ops/attention.cpp.
bool to_skew(Graph& graph, Node* node) {
  const Value y = node->result();
  if (y.type().rank() < 2) return false;
  const std::int64_t rows = extent(y, 2), kept = extent(y, 1);
  const std::int64_t columns = rows + kept - 1;
  if (rows < 2 || kept < 1) return false;
  const auto wide = sliced(y, 0, kept, kept == columns - 1);
  const Value flat = wide ? reshaped(*wide, 1, {rows, columns - 1}) : Value();
  if (!flat) return false;
  const auto whole = sliced(flat, rows - 1, rows - 1 + rows * (columns - 1), false);
  Value x = whole ? reshaped(*whole, 2, {rows * columns}) : Value();
  if (!x || extent(x, 2) != rows || extent(x, 1) != columns) return false;
  std::string distance = "j-i";
  x = without_reverse(x, distance, "i-j");
  replace(graph, node, "skew", {x}, {{"distance", distance}});
  return true;
}

/// y [..., I, I+J-1] of x [..., I, J]: see decompose_unskew in ir/ops/attention.cpp.
bool to_unskew(Graph& graph, Node* node) {
  std::string distance = "j-i";
  const Value y = without_reverse(node->result(), distance, "i-j");
  if (y.type().rank() < 2) return false;
  const std::int64_t rows = extent(y, 2), wide = extent(y, 1);
  const std::int64_t columns = wide - rows + 1;
  if (rows < 2 || columns < 1) return false;
  const Value flat = reshaped(y, 1, {rows, wide});
  if (!flat) return false;
  const auto inner = padded(flat, rows - 1, 1);
  const Value longer = inner ? reshaped(*inner, 2, {rows * (wide - 1)}) : Value();
  if (!longer || extent(longer, 2) != rows || extent(longer, 1) != wide - 1) return false;
  const auto x = padded(longer, 0, rows - 2);
  if (!x || extent(*x, 1) != columns) return false;
  replace(graph, node, "unskew", {*x}, {{"distance", distance}});
  return true;
}

/// Extents are numbers, 0 where an open one is kept, -1 where one is computed.
bool spell_extents(Node* node) {
  const Shape& x = node->operand(0).shape();
  const Shape& y = node->result().shape();
  Ints extents;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const bool kept = i < x.size() && x[i] == y[i];
    extents.push_back(y[i].is_static() && y[i].factor != 0 ? y[i].factor : kept ? 0 : -1);
  }
  if (std::count(extents.begin(), extents.end(), -1) > 1 ||
      extents == node->attributes().ints("shape")) {
    return false;
  }
  node->attributes().set("shape", std::move(extents));
  return true;
}

bool is_view(const Node& node) {
  return node.is("slice") || node.is("reverse") || node.is("reshape");
}

bool visit_view(Graph& graph, Node* node) {
  if (node->is("slice")) return to_skew(graph, node);
  if (node->is("reverse")) return to_unskew(graph, node);
  return to_skew(graph, node) || to_unskew(graph, node);
}

bool visit(Graph& graph, Node* node) {
  if (node->is("matmul")) return absorb_transposes(node) | to_linear(graph, node);
  if (node->is("add")) return take_bias(graph, node);
  if (node->is("reshape")) return spell_extents(node);
  if (node->is("reciprocal")) {
    Node* sqrt = producer(*node, 0, "sqrt");
    if (sqrt == nullptr) return false;
    replace(graph, node, "rsqrt", {sqrt->operand(0)});
    return true;
  }
  if (node->is("mul") && node->operand(0) == node->operand(1) &&
      is_float(node->operand(0).dtype())) {
    replace(graph, node, "square", {node->operand(0)});
    return true;
  }
  return false;
}

}  // namespace

bool recompose(Graph& graph) {
  bool changed = false;
  // Reversed or sliced forms hold shorter ones inside: the outermost node is seen first.
  const std::vector<Node*> nodes = graph.node_list();
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    if (is_view(**it)) changed |= visit_view(graph, *it);
  }
  for (Node* node : graph.node_list()) changed |= visit(graph, node);
  for (Node* node : graph.node_list()) {  // those that got no bias
    if (node->is("linear")) changed |= to_matmul(graph, node);
  }
  if (!changed) return false;
  PassContext context;
  eliminate_dead_code(graph, context);
  return true;
}

}  // namespace facet
