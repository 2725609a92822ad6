#include <algorithm>

#include "ir/op.h"
#include "passes/pass.h"

// fuse-cotangents: where a value has two readers its cotangent is a sum of two. The gradient of a
// batch norm behind add + relu takes both: it writes what passes the relu anyway and reads that
// from then on, so that the sum itself never goes to memory.
//
//   before   %3 = add(%1, %2)   %4:4 = batch_norm_bwd(%3, %x, ..., %y) {tail = ["add", "relu"]}
//   after    %4:4 = batch_norm_bwd(%1, %x, ..., %y, %2) {tail = ["add", "relu"]}
//
// Refused: others read the sum, too; its parts are of another type; another tail, whose gradient
// reads the cotangent twice; a target that takes one cotangent only.

namespace facet {
namespace {

constexpr int kOperands = 6;  ///< of a batch_norm_bwd with this tail and one cotangent

bool takes_another(const Node& node) {
  return node.is("batch_norm_bwd") && node.attributes().strings("tail") == Strings{"add", "relu"} &&
         node.operand_count() == kOperands && node.operand(0).node->is("add");
}

bool fuse_one(Graph& graph, Node* norm, PassContext& context) {
  const Value sum = norm->operand(0);
  const auto missed = [&](std::string why) {
    context.missed(*norm, "batch_norm_bwd+add", std::move(why));
    return false;
  };
  if (graph.use_count(sum) != 1) return missed("the sum of its cotangents has other readers");
  for (const Value& part : sum.node->operands()) {
    if (!(part.type() == sum.type())) return missed("a cotangent is of another type than the sum");
  }
  std::vector<Value> operands(norm->operands().begin(), norm->operands().end());
  operands[0] = sum.node->operand(0);
  operands.push_back(sum.node->operand(1));
  Node* const fused =
      graph.create(norm->op(), std::move(operands), norm->attributes(), norm->provenance(), norm);
  if (context.target != nullptr && !context.target->supports(*fused)) {
    graph.erase(fused);
    return missed("the target takes one cotangent");
  }
  for (int i = 0; i < norm->result_count(); ++i) {
    graph.replace_uses(norm->result(i), fused->result(i));
  }
  graph.erase(norm);
  graph.erase(sum.node);
  context.applied(*fused, "batch_norm_bwd+add");
  return true;
}

}  // namespace

bool fuse_cotangents(Graph& graph, PassContext& context) {
  std::vector<Node*> norms = graph.node_list();
  std::erase_if(norms, [](const Node* node) { return !takes_another(*node); });
  bool changed = false;
  for (Node* const norm : norms) changed = fuse_one(graph, norm, context) || changed;
  return changed;
}

}  // namespace facet
