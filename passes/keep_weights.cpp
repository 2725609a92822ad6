#include <algorithm>
#include <vector>

#include "ir/layout.h"
#include "ir/sdpa.h"
#include "passes/pass.h"

// keep-weights: an sdpa whose gradient follows in the same step gives its weights as a second
// result, and the gradient reads them in place of making scores and weights again: a quarter of its
// work. They are written once and read once.
//
//   before   %1 = sdpa(%qkv, %qkv, %qkv, %t)          %9:2 = sdpa_bwd(%dy, %qkv, %qkv, %qkv, %t)
//   after    %1:2 = sdpa(...) {weights = true}        %9:2 = sdpa_bwd(..., %1.1) {weights = true}
//
// Refused: f32 weights, which are twice as large, and those that are large beside what the sdpa
// reads, as of many tokens; a clamp, whose cuts the weights do not show; a target that keeps none.
// A recompute policy may make the sdpa again and its weights with it: bits are the same.

namespace facet {
namespace {

/// Bytes of weights beside those of queries, keys and values.
constexpr std::int64_t kMostShare = 4;

/// Whether `bwd` is the gradient of `sdpa`.
bool is_gradient(const Node& bwd, const Node& sdpa) {
  if (!bwd.is("sdpa_bwd") || bwd.operand_count() != sdpa.operand_count() + 1) return false;
  for (int i = 0; i < sdpa.operand_count(); ++i) {
    if (!(bwd.operand(i + 1) == sdpa.operand(i))) return false;
  }
  Attributes attributes = bwd.attributes();
  attributes.erase("packed");
  attributes.erase("bias_gradient");
  return attributes == sdpa.attributes();
}

Node* gradient_of(const Node& sdpa) {
  for (const Use& use : sdpa.operand(0).node->uses(sdpa.operand(0).index)) {
    if (is_gradient(*use.node, sdpa)) return use.node;
  }
  return nullptr;
}

std::string refusal(const Node& sdpa) {
  const Sdpa s = sdpa_of(sdpa);
  const Type& y = sdpa.result_types()[0];
  if (!is_static(y.shape) || size_of(y.dtype) != 2) return "its weights would be f32";
  const Type weights{y.dtype, {y.shape[0], s.heads, s.queries, s.keys}, {}};
  std::int64_t read = 0;
  for (int i = 0; i < 3; ++i) read += byte_size(sdpa.operand(i).type());
  if (byte_size(weights) > kMostShare * read) return "its weights are large beside its operands";
  return s.clamp ? "weights do not tell where a clamp cut" : "";
}

/// The node with `weights` set, in its place; null, and nothing changed, if the target lacks it.
Node* keeping(Graph& graph, Node* node, std::vector<Value> operands, const Target* target) {
  Attributes attributes = node->attributes();
  attributes.set("weights", true);
  Node* const made = graph.create(node->op(), std::move(operands), std::move(attributes),
                                  node->provenance(), node);
  if (target->supports(*made)) return made;
  graph.erase(made);
  return nullptr;
}

void replace(Graph& graph, Node* node, Node* by) {
  for (int i = 0; i < node->result_count(); ++i) {
    graph.replace_uses(node->result(i), by->result(i));
  }
  graph.erase(node);
}

bool keep(Graph& graph, Node* sdpa, Node* bwd, PassContext& context) {
  std::string why = refusal(*sdpa);
  if (!why.empty()) {
    context.missed(*sdpa, "sdpa+weights", std::move(why));
    return false;
  }
  Node* const forward =
      keeping(graph, sdpa, {sdpa->operands().begin(), sdpa->operands().end()}, context.target);
  Node* backward = nullptr;
  if (forward != nullptr) {
    std::vector<Value> operands(bwd->operands().begin(), bwd->operands().end());
    operands.push_back(forward->result(1));
    backward = keeping(graph, bwd, std::move(operands), context.target);
  }
  if (backward == nullptr) {
    if (forward != nullptr) graph.erase(forward);
    context.missed(*sdpa, "sdpa+weights", "the target keeps no weights");
    return false;
  }
  replace(graph, bwd, backward);
  replace(graph, sdpa, forward);
  context.applied(*forward, "sdpa+weights");
  return true;
}

}  // namespace

bool keep_weights(Graph& graph, PassContext& context) {
  if (context.target == nullptr) return false;
  std::vector<Node*> nodes = graph.node_list();
  std::erase_if(nodes, [](const Node* node) {
    return !node->is("sdpa") || node->attributes().boolean("weights");
  });
  bool changed = false;
  for (Node* const sdpa : nodes) {
    if (Node* const bwd = gradient_of(*sdpa)) changed = keep(graph, sdpa, bwd, context) || changed;
  }
  return changed;
}

}  // namespace facet
