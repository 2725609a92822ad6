#include <algorithm>
#include <string>
#include <vector>

#include "ir/elementwise_program.h"
#include "ir/op.h"
#include "passes/pass.h"

// move-slices: what a scalar function makes and only slices read is made slice by slice, so that
// each part can move into the function that reads it; the whole is never in memory. The gradient of
// a concat under a relu is such a value.
//
//   before   %2 = mul(%0, %1)                             after   %2 = slice(%0)   %3 = slice(%1)
//            %3 = slice(%2)   %4 = add(%3, %a)                    %4 = mul(%2, %3) %5 = add(%4, %a)
//            %5 = slice(%2)   %6 = add(%5, %b)                    ... likewise for %b
//
// Slices are views, and no element is computed twice: refused where two of them overlap, where one
// has another reader than a single scalar function of its shape and dtype (the part would be a step
// of its own), and where the whole is read elsewhere.

namespace facet {
namespace {

bool is_scalar_function(const Node& node) {
  if (node.is("prelu")) return false;  // its slopes lie along axis 1 whatever their rank
  return (node.is("elementwise") || elementwise_arity(node.kind()) > 0) &&
         is_float(node.result_types()[0].dtype);
}

std::int64_t axis_of(const Node& slice) {
  const std::int64_t axis = slice.attributes().integer("axis");
  return axis < 0 ? axis + slice.operand(0).type().rank() : axis;
}

/// The slices that alone read the node, along one axis and in its order; empty where it stays whole.
std::vector<Node*> slices_of(const Graph& graph, Node& node) {
  std::vector<Node*> slices;
  const std::vector<Use> uses = node.uses(0);
  if (uses.empty() || graph.use_count(node.result()) != std::ssize(uses)) return {};
  for (const Use& use : uses) {
    if (!use.node->is("slice")) return {};
    const Value part = use.node->result();
    const std::vector<Use> readers = part.node->uses(0);
    if (readers.size() != 1 || graph.use_count(part) != 1) return {};
    const Node& reader = *readers[0].node;
    if (!is_scalar_function(reader) || reader.result_types()[0] != part.type()) return {};
    slices.push_back(use.node);
  }
  const std::int64_t axis = axis_of(*slices[0]);
  const auto start = [](const Node* slice) { return slice->attributes().integer("start"); };
  std::ranges::sort(slices, {}, start);
  for (std::size_t i = 0; i < slices.size(); ++i) {
    if (axis_of(*slices[i]) != axis) return {};
    if (i > 0 && slices[i - 1]->attributes().integer("end") > start(slices[i])) return {};
  }
  return slices;
}

/// What the slice reads of an operand of the function: all of one that is broadcast along its axis.
Value part_of(Builder& build, Value operand, const Node& slice) {
  const std::int64_t axis = axis_of(slice) - slice.operand(0).type().rank();  // from the last one
  if (operand.type().rank() + axis < 0) return operand;
  const auto along = static_cast<std::size_t>(operand.type().rank() + axis);
  if (operand.shape()[along] == Dim(1)) return operand;
  Attributes attributes = slice.attributes();
  attributes.set("axis", static_cast<std::int64_t>(along));
  return build("slice", {operand}, std::move(attributes));
}

}  // namespace

bool move_slices(Graph& graph, PassContext& /*context*/) {
  bool changed = false;
  const std::vector<Node*> nodes = graph.node_list();
  // Last nodes first: a function ahead of one that was taken apart is read by slices, too, and what
  // is erased lies behind.
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    Node* const node = *it;
    if (!is_scalar_function(*node) || is_prepared(node->result())) continue;
    const std::vector<Node*> slices = slices_of(graph, *node);
    for (Node* slice : slices) {
      Builder build(graph, slice, slice->provenance());
      std::vector<Value> operands;
      for (const Value& operand : node->operands()) {
        operands.push_back(part_of(build, operand, *slice));
      }
      graph.replace_uses(slice->result(),
                         build(node->kind(), std::move(operands), node->attributes()));
      graph.erase(slice);
    }
    if (slices.empty()) continue;
    graph.erase(node);
    changed = true;
  }
  return changed;
}

}  // namespace facet
