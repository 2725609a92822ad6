#pragma once

#include <set>

#include "ir/graph.h"

namespace facet {

/// The nodes that depend on parameters and constants only, for one look at a whole graph
/// (`is_prepared` walks from a value up and suits single questions).
class PreparedSet {
 public:
  explicit PreparedSet(const Graph& graph);
  bool contains(const Node* node) const { return nodes_.contains(node); }
  bool contains(Value value) const { return nodes_.contains(value.node); }
  void insert(const Node* node) { nodes_.insert(node); }

 private:
  std::set<const Node*> nodes_;
};

/// Whether the node is a parameter that a run changes.
bool is_state(const Node& node);

/// The state whose bytes the value lies in: the parameter node itself, or the one that the update op
/// which makes the value writes over. Null for every other value.
const Node* state_behind(Value value);

}  // namespace facet
