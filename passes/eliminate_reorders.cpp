#include "ir/op.h"
#include "passes/pass.h"

// eliminate-reorders: layout changes that are not needed vanish.
//
//   reorder(x) to the layout x has                 -> x
//   reorder(reorder(x))                            -> one reorder of x
//   cast(x) only read by reorder {L}               -> the cast writes layout L itself
//
//   before   %1 = cast(%x) : bf16[1, 3, 8, 8]   %2 = reorder(%1) {layout = "acdb"}
//   after    %2 = cast(%x) : bf16[1, 3, 8, 8]@acdb
//
// Refused: the cast has other readers; blocked layouts, which the cast kernel does not write.

namespace facet {
namespace {

bool is_unblocked(const Layout& layout) {
  return layout.find_first_of("0123456789") == Layout::npos;
}

bool skip_inner_reorder(Graph& graph, Node* reorder) {
  Node* inner = reorder->operand(0).node;
  if (!inner->is("reorder")) return false;
  reorder->set_operand(0, inner->operand(0));
  if (graph.use_count(inner->result()) == 0) graph.erase(inner);
  return true;
}

bool let_cast_write(Graph& graph, Node* reorder) {
  const Value value = reorder->operand(0);
  Node* cast = value.node;
  const Layout& layout = reorder->result_types()[0].layout;
  if (!cast->is("cast") || graph.use_count(value) != 1 || is_prepared(value)) return false;
  if (!is_unblocked(layout) || !is_unblocked(cast->operand(0).type().layout)) return false;
  Type type = cast->result_types()[0];
  type.layout = layout;
  cast->set_result_type(0, type);
  graph.replace_uses(reorder->result(), value);
  graph.erase(reorder);
  return true;
}

}  // namespace

bool eliminate_reorders(Graph& graph, PassContext&) {
  bool changed = false;
  for (Node* node : graph.node_list()) {
    if (!node->is("reorder")) continue;
    changed |= skip_inner_reorder(graph, node);
    if (node->operand(0).type().layout == node->result_types()[0].layout) {
      graph.replace_uses(node->result(), node->operand(0));
      graph.erase(node);
      changed = true;
      continue;
    }
    changed |= let_cast_write(graph, node);
  }
  return changed;
}

}  // namespace facet
