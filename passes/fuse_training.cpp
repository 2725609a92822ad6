#include "passes/fuse_training.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "ir/op.h"
#include "passes/pass.h"

//   before   %1:5 = batch_norm_train(%x, ...)   %2 = add(%1.0, %r)   %3 = relu(%2)
//   after    %1:5 = batch_norm_train(%x, ..., %r) {tail = ["add", "relu"]}      readers of %3 take
//   %1.0

namespace facet {
namespace {

/// The only reader of `value`, or null.
Node* only_reader(const Graph& graph, Value value) {
  if (graph.use_count(value) != 1) return nullptr;
  const std::vector<Use> uses = value.node->uses(value.index);
  return uses.size() == 1 ? uses[0].node : nullptr;
}

/// Whether `value` is computed from a result of `node`.
bool depends_on(Value value, const Node* node) {
  std::vector<const Node*> open{value.node};
  std::set<const Node*> seen;
  while (!open.empty()) {
    const Node* at = open.back();
    open.pop_back();
    if (at == node) return true;
    if (!seen.insert(at).second) continue;
    for (const Value& operand : at->operands()) open.push_back(operand.node);
  }
  return false;
}

/// Whether a norm could take the node as its tail.
bool is_tail(const Node& node) { return node.is("relu") || node.is("prelu") || node.is("add"); }

/// A norm of a sequence that is a map, flattened: it comes ahead of the flattening, where the map
/// lies as convolutions and attention like it. The statistics are over the same elements.
///
///   before   %1 = reshape(%x [N, C, H, W]) : [N, C, K]   %2:5 = batch_norm_train(%1, ...)
///   after    %2:5 = batch_norm_train(%x, ...)            %3 = reshape(%2.0) : [N, C, K]
///
/// Refused: a map that others read flattened, too; a norm that would lose its tail.
Node* lift(Graph& graph, Node* norm) {
  const Shape& sequence = norm->operand(0).shape();
  std::vector<Node*> reshapes;
  const auto is_map = [&](const Value& value) {
    return value.type().rank() == 4 && value.shape()[0] == sequence[0] &&
           value.shape()[1] == sequence[1];
  };
  Value map = norm->operand(0);
  while (!is_map(map)) {
    if (!map.node->is("reshape") || graph.use_count(map) != 1) return norm;
    reshapes.push_back(map.node);
    map = map.node->operand(0);
  }
  const Node* const reader = only_reader(graph, norm->result());
  if (sequence.size() != 3 || (reader != nullptr && is_tail(*reader))) return norm;
  Builder build(graph, norm, norm->provenance());
  std::vector<Value> operands(norm->operands().begin(), norm->operands().end());
  operands[0] = map;
  Node* const made = build.node("batch_norm_train", std::move(operands), norm->attributes());
  graph.replace_uses(norm->result(),
                     build("reshape", {made->result(0)}, {{"shape", Ints{0, 0, -1}}}));
  for (int i = 1; i < norm->result_count(); ++i) {
    graph.replace_uses(norm->result(i), made->result(i));
  }
  graph.erase(norm);
  for (Node* const reshape : reshapes) graph.erase(reshape);
  return made;
}

class NormFusion {
 public:
  NormFusion(Graph& graph, Node* norm, PassContext& context)
      : graph_(graph), norm_(norm), context_(context) {}

  void run() {
    if (!norm_->attributes().strings("tail").empty()) return;
    take_addition(only_reader(graph_, norm_->result()));
    take_activation(only_reader(graph_, chain_.empty() ? norm_->result() : chain_[0]->result()));
    if (chain_.empty()) return explain();
    rewrite();
  }

 private:
  /// Why what could be the norm's tail is none. Other readers are no near miss.
  void explain() {
    const std::vector<Use> uses = norm_->uses(0);
    const auto next = std::ranges::find_if(uses, [](const Use& use) { return is_tail(*use.node); });
    if (next == uses.end()) return;
    std::string why = "what is added is of another type, or depends on the norm's statistics";
    if (graph_.use_count(norm_->result()) > 1) why = "others read the normalised value, too";
    context_.missed(*norm_, fmt::format("batch_norm_train+{}", next->node->kind()), why);
  }

  void take_addition(Node* node) {
    if (node == nullptr || !node->is("add")) return;
    const Value other = node->operand(node->operand(0) == norm_->result() ? 1 : 0);
    if (!(other.type() == norm_->result().type()) || depends_on(other, norm_)) return;
    tail_.push_back("add");
    extra_ = other;
    chain_.push_back(node);
  }

  void take_activation(Node* node) {
    if (node == nullptr) return;
    const bool is_prelu =
        node->is("prelu") && chain_.empty() && node->operand(0) == norm_->result();
    if (!is_prelu && !node->is("relu")) return;
    tail_.emplace_back(node->kind());
    if (is_prelu) extra_ = node->operand(1);
    chain_.push_back(node);
  }

  /// The new node stands where the last of the chain does: there the residual is known.
  void rewrite() {
    Node* last = chain_.back();
    Builder build(graph_, last, provenance());
    std::vector<Value> operands(norm_->operands().begin(), norm_->operands().end());
    if (extra_) operands.push_back(extra_);
    Attributes attributes = norm_->attributes();
    attributes.set("tail", tail_);
    Node* made = build.node("batch_norm_train", std::move(operands), std::move(attributes));
    graph_.replace_uses(last->result(), made->result(0));
    for (int i = 1; i < norm_->result_count(); ++i) {
      graph_.replace_uses(norm_->result(i), made->result(i));
    }
    for (auto node = chain_.rbegin(); node != chain_.rend(); ++node) graph_.erase(*node);
    graph_.erase(norm_);
    context_.applied(*made, fmt::format("batch_norm_train+{}", fmt::join(tail_, "+")));
  }

  Provenance provenance() const {
    Provenance result = norm_->provenance();
    result.origins = {result.scope};
    for (const Node* node : chain_) {
      if (node->provenance().scope != result.origins.back()) {
        result.origins.push_back(node->provenance().scope);
      }
    }
    return result;
  }

  Graph& graph_;
  Node* norm_;
  PassContext& context_;
  Strings tail_;
  Value extra_;  // the residual or the slope
  std::vector<Node*> chain_;
};

}  // namespace

void fuse_for_training(Graph& graph) {
  PassContext context;
  fuse_for_training(graph, context);
}

void fuse_for_training(Graph& graph, PassContext& context) {
  context.pass = "merge-branches";
  merge_branches(graph, context);
  context.pass = "fuse-attention";
  fuse_training_attention(graph, context);
  std::vector<Node*> norms;  // what they take with them is erased
  for (Node* node : graph.node_list()) {
    if (node->is("batch_norm_train")) norms.push_back(lift(graph, node));
  }
  context.pass = "fuse-norm-tail";
  for (Node* norm : norms) NormFusion(graph, norm, context).run();
  // A statistic that a later normalisation moves on may be read ahead of where it is made now.
  graph.sort_topologically();
}

}  // namespace facet
