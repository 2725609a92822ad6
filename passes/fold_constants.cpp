#include <fmt/format.h>

#include <algorithm>

#include "passes/pass.h"

// fold-constants: a node all of whose operands are `constant` is computed now and becomes a constant.
// Parameters are not constants: what depends on them is computed once when weights are bound.
//
//   before   %0 = constant() {value = 2}   %1 = sqrt(%0)   %2 = mul(%x, %1)
//   after    %1 = constant() {value = 1.41}                %2 = mul(%x, %1)
//
// Refused when the result would need more bytes than its operands plus the context's budget (a tiny
// file must not unfold into gigabytes), and when the op gives several results.

namespace facet {

bool fold_constants(Graph& graph, PassContext& context) {
  if (!context.evaluate) return false;
  bool changed = false;
  for (Node* node : graph.node_list()) {
    const bool foldable =
        node->operand_count() > 0 && node->result_count() == 1 &&
        std::all_of(node->operands().begin(), node->operands().end(),
                    [](const Value& value) { return value.node->is("constant"); });
    if (!foldable) continue;
    std::int64_t operand_bytes = 0;
    std::vector<HostTensor> operands;
    for (const Value& value : node->operands()) {
      operands.push_back(value.node->attributes().tensor("value"));
      operand_bytes += operands.back().byte_count();
    }
    const Type& type = node->result_types()[0];
    const std::int64_t bytes = element_count(type.shape).factor * size_of(type.dtype);
    if (bytes > operand_bytes + context.fold_budget_bytes) {
      context.missed(*node, std::string(node->kind()),
                     fmt::format("the constant would grow from {} to {} bytes, over the budget of {}",
                                 operand_bytes, bytes, context.fold_budget_bytes));
      continue;
    }
    HostTensor value = context.evaluate(*node, operands).at(0).cast(type.dtype);
    Node* constant = graph.create("constant", {}, {{"value", std::move(value)}},
                                  node->provenance(), node);
    graph.replace_uses(node->result(), constant->result());
    graph.erase(node);
    changed = true;
  }
  return changed;
}

}  // namespace facet
