#include <fmt/format.h>

#include "ir/error.h"
#include "ir/op.h"
#include "passes/pass.h"

// decompose-unsupported: a node that the target does not run is replaced by its decomposition, until
// everything runs. A plain op that does not run is an error that names node, type and target.
//
//   before   %1 = prelu(%0, %s)        (a target without prelu)
//   after    %1 = add(relu(%0), mul(minimum(%0, 0), %s))

namespace facet {

bool decompose_unsupported(Graph& graph, PassContext& context) {
  if (context.target == nullptr) return false;
  bool changed = false;
  for (bool again = true; again;) {
    again = false;
    for (Node* node : graph.node_list()) {
      if (node->op().cost.is_free() && node->operand_count() == 0) continue;  // leaves
      if (context.target->supports(*node)) continue;
      const std::string scope = node->provenance().scope;
      const std::string what = fmt::format("{} : {}", node->kind(), to_string(node->result_types()[0]));
      if (!decompose(graph, node)) {
        throw failure(fmt::format("the {} target cannot run {} ({}), and it has no plainer form",
                                  context.target->name(), what, scope));
      }
      again = changed = true;
    }
  }
  return changed;
}

}  // namespace facet
