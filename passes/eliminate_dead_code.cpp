#include <set>

#include "passes/pass.h"

// eliminate-dead-code: nodes whose results no output needs are erased. Inputs stay: they are the
// contract with the caller.
//
//   before   %1 = relu(%0)   %2 = exp(%0)   return y = %1
//   after    %1 = relu(%0)                  return y = %1

namespace facet {

bool eliminate_dead_code(Graph& graph, PassContext&) {
  std::set<const Node*> outputs;
  for (const Output& output : graph.outputs()) outputs.insert(output.value.node);
  for (const Output& update : graph.updates()) outputs.insert(update.value.node);
  bool changed = false;
  const std::vector<Node*> nodes = graph.node_list();
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    Node* node = *it;
    if (!node->all_uses().empty() || outputs.contains(node) || node->is("input")) continue;
    graph.erase(node);
    changed = true;
  }
  return changed;
}

}  // namespace facet
