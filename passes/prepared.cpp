#include "passes/pass.h"
#include "passes/prepared.h"

namespace facet {

PreparedSet::PreparedSet(const Graph& graph) {
  for (const auto& node : graph.nodes()) {
    if (node->is("input")) continue;
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
    if (node->is("input")) return false;
    if (node->all_uses().size() > 1 && !seen.insert(node).second) continue;
    // The first operand is looked at first: it leads to an input soonest.
    for (int i = node->operand_count() - 1; i >= 0; --i) open.push_back(node->operand(i).node);
  }
  return true;
}

}  // namespace facet
