#include <algorithm>
#include <set>

#include "ir/op.h"
#include "passes/attention.h"
#include "passes/fuse_training.h"
#include "passes/pass.h"

// fuse-attention: scores, softmax and weighted values become one sdpa (ir/sdpa.h has the formula)
// that reads what made queries, keys and values and gives what reads the result, so that neither
// scores nor copies of heads go to memory.
//
//   before   %2 = reshape(slice(%1))  ... heads of q, k, v in %1 [N, C, H, W]
//            %5 = matmul(%2, %3)      %6 = mul(%5, 0.125)   %7 = softmax(%6)   %8 = matmul(%7, %4)
//            %9 = reshape(transpose(%8))
//   after    %9 = sdpa(%1, %1, %1) {heads = ..., query = [first, step, size], ..., scale = 0.125}
//
// Scores are a sum of queries times keys, skewed products of queries or keys with a table of
// distances, products with tables of rows and columns of a map, and biases; numbers, prepared
// factors per head and batch norms over heads may scale them, and a clamp may stand before the
// biases. A batch norm's shift is dropped: it is one number for all keys, which a softmax does not
// see. Behind the weights there may be a product with a table of values by distance, and scales,
// shifts and batch norms per channel. It stands ahead of fold-batch-norm, lower-batch-norm and the
// fusions of elementwise ops, which would take parts of this away.
//
// In training (fuse_training_attention, ahead of differentiation) a batch norm of the parts has
// statistics of the batch. They come from queries, keys and tables without the scores
// (score_moments), and so does what moves the running ones:
//
//   before   %9 = concat(%5, %7, %8)  %10:5 = batch_norm_train(%9, ...)  %11 =
//   reduce_sum(reshape(%10.0))
//            %12 = softmax(%11) ...   update "running_mean" = %10.3
//   after    %20 = sdpa(%1, %1, %1, %19, ...) {extras = ["score_scale", ...]}
//            %19 = scale * rsqrt(variance + epsilon), one row a part   update "running_mean" = %18
//
// What stands behind the products stays there, because it is normalised anew in every step: content
// and places that are joined channel by channel become one interleaved result.
//
// Refused: scores or weights that others read; scales that are computed at run time or vary along
// tokens; a softmax over another axis; symbolic tokens; tables that differ from head to head;
// shifts or biases ahead of a clamp; queries, keys and values whose channels do not lie in one
// order. In training also: a scale or a sum between a product and its batch norm; a batch norm
// whose statistics others read; dropout of the weights; a symbolic batch.

namespace facet {
namespace {

using attention::Mixed;
using attention::Scores;

/// What the scopes have in common from the root on: "layer1.attn" for "layer1.attn.q" and
/// "layer1.attn.k".
std::string common_scope(const std::vector<std::string>& scopes) {
  std::string common = scopes.at(0);
  for (const std::string& scope : scopes) {
    while (!common.empty() && scope != common && !scope.starts_with(common + ".")) {
      const std::size_t dot = common.rfind('.');
      common.resize(dot == std::string::npos ? 0 : dot);
    }
  }
  return common;
}

/// Erases what only the replaced value needed. Returns the scopes of what it erased.
std::vector<std::string> erase_unread(Graph& graph, Node* from) {
  std::set<std::string> scopes;
  std::set<Node*> open{from};
  while (!open.empty()) {
    Node* node = *open.begin();
    open.erase(open.begin());
    if (node->is("input") || !node->all_uses().empty()) continue;
    bool read = false;
    for (int i = 0; i < node->result_count(); ++i) read = read || graph.is_output(node->result(i));
    if (read) continue;
    for (const Value& operand : node->operands()) open.insert(operand.node);
    if (!node->provenance().scope.empty()) scopes.insert(node->provenance().scope);
    graph.erase(node);
  }
  return {scopes.begin(), scopes.end()};
}

std::string pattern_of(const Node& sdpa) {
  std::string pattern = "sdpa";
  if (!sdpa.attributes().doubles("clamp").empty()) pattern += "+clamp";
  for (const std::string& extra : sdpa.attributes().strings("extras")) pattern += "+" + extra;
  return pattern;
}

/// Whether the softmax makes weights of something: otherwise it is no attention, and no near miss.
bool makes_weights(Node& softmax) {
  const std::vector<Use> uses = softmax.uses(0);
  const bool mixes = std::any_of(uses.begin(), uses.end(), [](const Use& use) {
    return use.node->is("matmul") || use.node->is("unskew");
  });
  return mixes && attention::has_product(softmax.operand(0));
}

/// Returns why the softmax is no sdpa's; empty if it was replaced by one.
std::string fuse(Graph& graph, Node* softmax, PassContext& context, bool training) {
  Scores scores;
  scores.training = training;
  Mixed mixed;
  if (std::string why = read_scores(graph, softmax, scores); !why.empty()) return why;
  if (std::string why = read_products(graph, scores, mixed); !why.empty()) return why;
  const std::optional<bool> last = channels_last_of(scores, mixed);
  if (!last) return "the heads of queries, keys and values are no runs of channels in one order";
  if (std::string why = read_results(graph, scores, *last, mixed); !why.empty()) return why;
  std::vector<std::string> scopes{softmax->provenance().scope};
  for (const Value& base : {scores.query->base, scores.key->base, mixed.value.base}) {
    scopes.push_back(base.node->provenance().scope);
    if (base.dtype() != mixed.end.dtype()) return "queries, keys and values have mixed dtypes";
  }
  Provenance provenance = softmax->provenance();
  if (std::string common = common_scope(scopes); !common.empty()) provenance.scope = common;
  Node* sdpa = nullptr;
  const Value result = write_sdpa(graph, scores, mixed, *last, provenance, sdpa);
  graph.replace_uses(mixed.end, result);
  sdpa->provenance().origins = erase_unread(graph, mixed.end.node);
  context.applied(*sdpa, pattern_of(*sdpa));
  return {};
}

bool fuse_all(Graph& graph, PassContext& context, bool training) {
  std::vector<Node*> nodes = graph.node_list();
  std::erase_if(nodes,
                [](Node* node) { return !node->is("softmax") || is_prepared(node->result()); });
  std::erase_if(nodes, [](Node* node) { return !makes_weights(*node); });
  bool changed = false;
  for (Node* softmax : nodes) {
    const std::string why = fuse(graph, softmax, context, training);
    if (why.empty()) {
      changed = true;
    } else {
      context.missed(*softmax, "sdpa", why);
    }
  }
  return changed;
}

}  // namespace

bool fuse_attention(Graph& graph, PassContext& context) { return fuse_all(graph, context, false); }

bool fuse_training_attention(Graph& graph, PassContext& context) {
  return fuse_all(graph, context, true);
}

}  // namespace facet
