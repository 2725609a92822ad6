#include "passes/differentiate.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "ir/error.h"
#include "ir/op.h"

// Nodes are visited from the last to the first. A node that lies on a path from `wrt` and whose
// result has a cotangent asks its op's rule for the cotangents of its operands; a value that several
// nodes read gets their sum.
//
//   before   %2 = relu(%1)                 seed: %2 has cotangent %3
//   after    %4 = greater(%2, 0)  %5 = where(%4, %3, 0)      %1 has cotangent %5

namespace facet {
namespace {

/// A rule differentiates the product and its bias; what fusion put behind them is plain ops again.
/// Likewise the scales and shifts behind an sdpa's sums, which its rule would have to make again.
bool has_fused_epilogue(const Node& node) {
  if (node.is("sdpa")) {
    const Strings& extras = node.attributes().strings("extras");
    return std::any_of(extras.begin(), extras.end(), [](const std::string& extra) {
      return extra == "output_scale" || extra == "output_shift";
    });
  }
  if (!node.attributes().has("epilogue")) return false;
  const Strings& epilogue = node.attributes().strings("epilogue");
  return !epilogue.empty() && epilogue != Strings{"bias"};
}

bool must_decompose(const Node& node) {
  const Gradient& gradient = node.op().gradient;
  const bool has_rule = gradient.function() != nullptr && !has_fused_epilogue(node);
  return !has_rule && gradient.reason().empty() && node.op().decomposition.function() != nullptr;
}

class Differentiation {
 public:
  Differentiation(Graph& graph, std::span<const Seed> seeds, std::span<const Value> wrt)
      : graph_(graph), seeds_(seeds.begin(), seeds.end()), wrt_(wrt.begin(), wrt.end()) {}

  std::vector<Value> run() {
    check();
    while (decompose_active()) {
    }
    find_active();
    const std::vector<Node*> nodes = graph_.node_list();
    for (const Seed& seed : seeds_) add(seed.value, seed.cotangent);
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) visit(*node);
    std::vector<Value> found;
    for (const Value& value : wrt_) found.push_back(cotangent_of(value));
    return found;
  }

 private:
  void check() const {
    if (!graph_.symbols().empty()) {
      throw usage_error(fmt::format("network '{}' has the symbolic extent {}; give it a number before "
                                    "differentiating", graph_.name(), graph_.symbols().front()));
    }
    for (const Seed& seed : seeds_) {
      if (seed.value.shape() == seed.cotangent.shape()) continue;
      throw usage_error(fmt::format("the cotangent {} does not fit the value {}",
                                    to_string(seed.cotangent.type()), to_string(seed.value.type())));
    }
  }

  /// Values that depend on one of `wrt_`.
  void find_active() {
    active_.clear();
    const std::set<Value> wrt(wrt_.begin(), wrt_.end());
    for (const auto& node : graph_.nodes()) {
      bool reads_active = false;
      for (const Value& operand : node->operands()) reads_active |= active_.contains(operand);
      for (int i = 0; i < node->result_count(); ++i) {
        if (reads_active || wrt.contains(node->result(i))) active_.insert(node->result(i));
      }
    }
  }

  static bool reads_any(const Node& node, const std::set<Value>& values) {
    for (const Value& operand : node.operands()) {
      if (values.contains(operand)) return true;
    }
    return false;
  }

  /// One round; what a decomposition is made of may decompose again.
  bool decompose_active() {
    find_active();
    bool changed = false;
    for (Node* node : graph_.node_list()) {
      if (!reads_any(*node, active_) || !must_decompose(*node)) continue;
      changed |= decompose_here(node);
    }
    return changed;
  }

  /// Seeds and `wrt` follow the values that take the place of the node's.
  bool decompose_here(Node* node) {
    const std::size_t outputs = graph_.outputs().size();
    for (const Seed& seed : seeds_) {
      graph_.outputs().push_back({{}, seed.value});
      graph_.outputs().push_back({{}, seed.cotangent});
    }
    for (const Value& value : wrt_) graph_.outputs().push_back({{}, value});
    const bool changed = decompose(graph_, node);
    std::size_t next = outputs;
    for (Seed& seed : seeds_) {
      seed.value = graph_.outputs()[next++].value;
      seed.cotangent = graph_.outputs()[next++].value;
    }
    for (Value& value : wrt_) value = graph_.outputs()[next++].value;
    graph_.outputs().resize(outputs);
    return changed;
  }

  void visit(Node* node) {
    if (!reads_any(*node, active_)) return;
    std::vector<Value> cotangents;
    bool reached = false;
    for (int i = 0; i < node->result_count(); ++i) {
      cotangents.push_back(cotangent_of(node->result(i)));
      reached |= static_cast<bool>(cotangents.back());
    }
    if (!reached) return;
    const Gradient& gradient = node->op().gradient;
    if (gradient.function() == nullptr || has_fused_epilogue(*node)) {
      throw usage_error(fmt::format("'{}' in {} has no gradient: {}", node->kind(),
                                    node->provenance().scope, gradient.reason()));
    }
    Builder build(graph_, nullptr, node->provenance());
    const std::vector<Value> found = gradient.function()(build, *node, cotangents);
    for (std::size_t i = 0; i < found.size(); ++i) {
      const Value operand = node->operand(static_cast<int>(i));
      if (found[i] && active_.contains(operand)) add(operand, found[i]);
    }
  }

  Value cotangent_of(Value value) const {
    const auto it = cotangents_.find(value);
    return it == cotangents_.end() ? Value{} : it->second;
  }

  void add(Value value, Value cotangent) {
    if (!(value.shape() == cotangent.shape())) {
      throw failure(fmt::format("the gradient rule of a reader of '{}' ({}) gave {} for {}",
                                value.node->kind(), value.node->provenance().scope,
                                to_string(cotangent.type()), to_string(value.type())));
    }
    Value& sum = cotangents_[value];
    if (!sum) {
      sum = cotangent;
      return;
    }
    Builder build(graph_, nullptr, value.node->provenance());
    sum = build("add", {sum, cotangent});
  }

  Graph& graph_;
  std::vector<Seed> seeds_;
  std::vector<Value> wrt_;
  std::set<Value> active_;
  std::map<Value, Value> cotangents_;
};

}  // namespace

std::vector<Value> differentiate(Graph& graph, std::span<const Seed> seeds,
                                 std::span<const Value> wrt) {
  return Differentiation(graph, seeds, wrt).run();
}

}  // namespace facet
