#include "ir/op.h"
#include "passes/pass.h"

// lower-score-moments: the moments of attention scores, and their gradients, become plain ops where
// the target does not compute them whole. Here and not with everything else that a target lacks, as
// their scalar functions are still to be fused.
//
//   before   %1:2 = score_moments(%qkv, %qkv, %rows)       (a target without score_moments)
//   after    %1 = matmul(...)   %2 = reduce_sum(mul(...))   ...

namespace facet {

bool lower_score_moments(Graph& graph, PassContext& context) {
  if (context.target == nullptr) return false;
  bool changed = false;
  for (Node* const node : graph.node_list()) {
    const bool is_meant = node->is("score_moments") || node->is("score_moments_bwd");
    if (!is_meant || context.target->supports(*node)) continue;
    changed = decompose(graph, node) || changed;
  }
  return changed;
}

}  // namespace facet
