#include <fmt/format.h>

#include <map>
#include <string>
#include <tuple>

#include "ir/op.h"
#include "passes/pass.h"

// eliminate-common-subexpressions: of two nodes with the same op, operands, attributes and types the
// later one is replaced by the earlier. All ops are pure. Inputs are never merged, even when two are
// declared alike.
//
//   before   %1 = sigmoid(%0)   %2 = sigmoid(%0)   %3 = mul(%1, %2)
//   after    %1 = sigmoid(%0)                      %3 = mul(%1, %1)

namespace facet {
namespace {

/// Text of everything that decides a node's value but its operands. Big constants by hash.
std::string signature(const Node& node) {
  std::string text(node.kind());
  for (const auto& [name, value] : node.attributes()) {
    text += fmt::format(";{}={}", name, to_string(value));
  }
  for (const Type& type : node.result_types()) text += fmt::format(";{}", to_string(type));
  return text;
}

}  // namespace

bool eliminate_common_subexpressions(Graph& graph, PassContext&) {
  std::map<std::pair<std::vector<Value>, std::string>, Node*> known;
  bool changed = false;
  for (Node* node : graph.node_list()) {
    if (node->is("input")) continue;
    std::vector<Value> operands(node->operands().begin(), node->operands().end());
    const auto [it, is_new] = known.emplace(std::pair(std::move(operands), signature(*node)), node);
    if (is_new) continue;
    for (int i = 0; i < node->result_count(); ++i) {
      graph.replace_uses(node->result(i), it->second->result(i));
    }
    graph.erase(node);
    changed = true;
  }
  return changed;
}

}  // namespace facet
