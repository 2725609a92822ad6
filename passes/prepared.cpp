#include "ir/op.h"
#include "passes/pass.h"
#include "passes/prepared.h"

namespace facet {

bool is_state(const Node& node) {
  return node.is("parameter") && node.attributes().boolean("mutable");
}

const Node* state_behind(Value value) {
  while (value.node->op().aliasing == Aliasing::update) value = value.node->operand(value.index);
  return is_state(*value.node) ? value.node : nullptr;
}

PreparedSet::PreparedSet(const Graph& graph) {
  for (const auto& node : graph.nodes()) {
    if (node->is("input") || is_state(*node)) continue;
    bool prepared = true;
    for (const Value& value : node->operands()) prepared &= nodes_.contains(value.node);
    if (prepared) nodes_.insert(node.get());
  }
}

bool is_prepared(Value value) {
  std::vector<const Node*> open{value.node};
  std::set<const Node*> seen;  // those that several nodes read: the others are reached once
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (node->is("input") || is_state(*node)) return false;
    if (node->all_uses().size() > 1 && !seen.insert(node).second) continue;
    // The first operand is looked at first: it leads to an input soonest.
    for (int i = node->operand_count() - 1; i >= 0; --i) open.push_back(node->operand(i).node);
  }
  return true;
}

}  // namespace facet
