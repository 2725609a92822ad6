#include "runtime/step_groups.h"

#include <algorithm>
#include <map>
#include <set>

#include "ir/op.h"
#include "passes/prepared.h"

namespace facet {
namespace {

/// Whether all that the node writes is state, where no plan of the arena has a say.
bool writes_state_only(const Node& node) {
  if (node.op().aliasing != Aliasing::update) return false;
  for (int r = 0; r < node.result_count(); ++r) {
    if (state_behind(node.operand(r)) == nullptr) return false;
  }
  return true;
}

class Grouping {
 public:
  explicit Grouping(const Backend& backend) : backend_(backend) {}

  std::vector<std::vector<Node*>> run(std::span<Node* const> steps) {
    for (Node* node : steps) {
      if (writes_state_only(*node) && backend_.runs_together(*node, *node)) {
        postpone(node);
        continue;
      }
      if (depth_behind(*node) > 0) release();
      found_.push_back({node});
    }
    release();
    return std::move(found_);
  }

 private:
  /// Updates of one formula of which none needs another.
  struct Waiting {
    int depth = 0;
    std::vector<Node*> nodes;
  };

  /// How many waiting groups have to run one behind the other before the node can.
  int depth_behind(const Node& node) const {
    int depth = 0;
    const auto behind = [&](const std::map<const Node*, int>& depths, const Node* other) {
      const auto found = depths.find(other);
      if (found != depths.end()) depth = std::max(depth, found->second + 1);
    };
    for (const Value& operand : node.operands()) behind(made_, operand.node);
    if (node.op().aliasing != Aliasing::update) return depth;
    for (int r = 0; r < node.result_count(); ++r) {
      if (const Node* state = state_behind(node.operand(r))) behind(read_, state);
    }
    return depth;
  }

  void postpone(Node* node) {
    const int depth = depth_behind(*node);
    const auto group = std::ranges::find_if(waiting_, [&](const Waiting& one) {
      return one.depth == depth && backend_.runs_together(*one.nodes.front(), *node);
    });
    if (group != waiting_.end()) {
      group->nodes.push_back(node);
    } else {
      waiting_.push_back({depth, {node}});
    }
    made_[node] = depth;
    for (const Value& operand : node->operands()) {
      const Node* state = state_behind(operand);
      if (state == nullptr) continue;
      int& last = read_[state];
      last = std::max(last, depth);
    }
  }

  /// All that wait, in an order that they allow.
  void release() {
    std::ranges::stable_sort(waiting_, {}, &Waiting::depth);
    for (Waiting& group : waiting_) found_.push_back(std::move(group.nodes));
    waiting_.clear();
    made_.clear();
    read_.clear();
  }

  const Backend& backend_;
  std::vector<std::vector<Node*>> found_;
  std::vector<Waiting> waiting_;
  std::map<const Node*, int> made_;  ///< depth of the waiting nodes
  std::map<const Node*, int> read_;  ///< of state: the largest depth of those that read it
};

}  // namespace

std::vector<std::vector<Node*>> group_steps(std::span<Node* const> steps, const Backend& backend) {
  return Grouping(backend).run(steps);
}

}  // namespace facet
