#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "ir/op.h"
#include "passes/pass.h"

// move-reversals: a reversed matrix that a matmul makes or reads is large where the other factor, a
// table of relative positions, is small; so the reversal moves there. Relative attention has such
// reversals, forward and backward, where it counts distances row minus column: those skews and
// unskews become a reversal and one of column minus row, which copies rows.
//
//   before   %2 = matmul(%q, %table)  : [N, G, K, W]     after   %2 = reverse(%table) {axis = -1}
//            %3 = reverse(%2) {axis = -1}                        %3 = matmul(%q, %2)
//
//   before   %2 = reverse(%1) {axis = -1}                after   %2 = reverse(%table) {axis = 1}
//            %3 = matmul(%2, %table) {transpose_b}               %3 = matmul(%1, %2) {transpose_b}
//
// Along an axis that is not contracted it moves from a factor to the product, and from there behind
// a reduce_sum over other axes. The same products are summed, contracted ones in the opposite
// order. Refused: the product, or its factor, is read elsewhere as well; nothing becomes smaller.

namespace facet {
namespace {

std::int64_t elements(Value value) { return element_count(value.shape()).factor; }

/// 0 for the axis of the rows, 1 for that of the columns, nothing for one of the leading axes.
std::optional<int> matrix_axis(const Node& reverse) {
  const std::int64_t rank = reverse.operand(0).type().rank();
  std::int64_t axis = reverse.attributes().integer("axis");
  if (axis < 0) axis += rank;
  if (axis < rank - 2) return std::nullopt;
  return static_cast<int>(axis - (rank - 2));
}

Value reversed(Builder& build, Value x, int matrix_axis) {
  return build("reverse", {x}, {{"axis", x.type().rank() - 2 + matrix_axis}});
}

/// Whether the matmul contracts operand `index` along its rows (0) or columns (1).
int contracted_axis(const Node& matmul, int index) {
  const bool transposed = matmul.attributes().boolean(index == 0 ? "transpose_a" : "transpose_b");
  return (index == 0) != transposed ? 1 : 0;
}

/// A matmul whose product alone is reversed: the factor that has the axis is reversed instead.
bool move_to_factor(Graph& graph, Node* reverse) {
  Node* matmul = reverse->operand(0).node;
  const auto axis = matrix_axis(*reverse);
  if (!axis || !matmul->is("matmul") || graph.use_count(matmul->result()) != 1) return false;
  const int factor = *axis;  // rows come from the first, columns from the second
  if (elements(matmul->operand(factor)) >= elements(reverse->result())) return false;
  Builder build(graph, matmul, matmul->provenance());
  const int along = 1 - contracted_axis(*matmul, factor);
  matmul->set_operand(factor, reversed(build, matmul->operand(factor), along));
  graph.replace_uses(reverse->result(), matmul->result());
  graph.erase(reverse);
  return true;
}

/// Where a reader of a reversed matrix may have the reversal instead: at its other factor, if the
/// axis is contracted, else at its product.
bool can_take(const Node& reader, int operand, int axis, std::int64_t size) {
  if (!reader.is("matmul") || reader.operand(0) == reader.operand(1)) return false;
  const Value smaller = contracted_axis(reader, operand) == axis
                            ? reader.operand(1 - operand)
                            : Value{const_cast<Node*>(&reader), 0};
  return elements(smaller) < size;
}

void take(Graph& graph, Node* reader, int operand, int axis, Value plain) {
  Builder build(graph, reader, reader->provenance());
  const int other = 1 - operand;
  const bool contracts = contracted_axis(*reader, operand) == axis;
  std::vector<Value> factors(reader->operands().begin(), reader->operands().end());
  const auto at = [&](int index) -> Value& { return factors[static_cast<std::size_t>(index)]; };
  at(operand) = plain;
  if (contracts) at(other) = reversed(build, at(other), contracted_axis(*reader, other));
  Value product = build("matmul", factors, reader->attributes());
  if (!contracts) product = reversed(build, product, operand);  // rows of a, columns of b
  graph.replace_uses(reader->result(), product);
  graph.erase(reader);
}

/// A reversed matrix that only matmuls read.
bool move_to_readers(Graph& graph, Node* reverse) {
  const auto axis = matrix_axis(*reverse);
  const std::vector<Use> uses = reverse->uses(0);
  if (!axis || uses.empty() || graph.use_count(reverse->result()) != std::ssize(uses)) return false;
  const std::int64_t size = elements(reverse->result());
  const bool all = std::ranges::all_of(
      uses, [&](const Use& use) { return can_take(*use.node, use.operand, *axis, size); });
  if (!all) return false;
  for (const Use& use : uses) take(graph, use.node, use.operand, *axis, reverse->operand(0));
  graph.erase(reverse);
  return true;
}

/// A reversed matrix that only a sum over other axes reads.
bool move_behind_sum(Graph& graph, Node* reverse) {
  const std::vector<Use> uses = reverse->uses(0);
  if (uses.size() != 1 || graph.use_count(reverse->result()) != 1) return false;
  Node* sum = uses[0].node;
  const std::int64_t rank = reverse->operand(0).type().rank();
  std::int64_t axis = reverse->attributes().integer("axis");
  if (axis < 0) axis += rank;
  if (!sum->is("reduce_sum") || !sum->attributes().boolean("keepdims")) return false;
  for (const std::int64_t summed : sum->attributes().ints("axes")) {
    if ((summed < 0 ? summed + rank : summed) == axis) return false;
  }
  Builder build(graph, sum, sum->provenance());
  const Value result = build("reduce_sum", {reverse->operand(0)}, sum->attributes());
  graph.replace_uses(sum->result(), build("reverse", {result}, {{"axis", axis}}));
  graph.erase(sum);
  graph.erase(reverse);
  return true;
}

/// A skew or unskew of the distance row minus column: the other one of reversed rows.
bool split_distance(Graph& graph, Node* node) {
  const bool is_skew = node->is("skew");
  if (!is_skew && !node->is("unskew")) return false;
  if (node->attributes().text("distance") != "i-j") return false;
  Builder build(graph, node, node->provenance());
  Value y = node->operand(0);
  if (is_skew) y = reversed(build, y, 1);
  y = build(node->kind(), {y}, {{"distance", std::string("j-i")}});
  if (!is_skew) y = reversed(build, y, 1);
  graph.replace_uses(node->result(), y);
  graph.erase(node);
  return true;
}

}  // namespace

bool move_reversals(Graph& graph, PassContext& /*context*/) {
  bool changed = false;
  for (Node* node : graph.node_list()) changed |= split_distance(graph, node);
  for (bool again = true; again;) {
    again = false;
    for (Node* node : graph.node_list()) {
      again = node->is("reverse") && (move_to_factor(graph, node) || move_to_readers(graph, node) ||
                                      move_behind_sum(graph, node));
      if (again) break;  // the list names nodes that are gone
    }
    changed |= again;
  }
  return changed;
}

}  // namespace facet
