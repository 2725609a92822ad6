#include <map>

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
  if (value.node->is("input")) return false;
  for (const Value& operand : value.node->operands()) {
    if (!is_prepared(operand)) return false;
  }
  return true;
}

}  // namespace facet
