#include "passes/sink_updates.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "ir/error.h"
#include "ir/op.h"
#include "passes/pass.h"

// sink-updates: an update writes its result i over operand i, so every other reader of that operand
// must run first. Passes that move nodes or add readers (a cast of a weight to bf16, say) need not
// care: this pass, the last before lowering, moves an update behind them, and with it what reads
// its results. Everything else stays in place.
//
//   %1 = parameter() {key = "w", mutable = true}       %1 = parameter() {key = "w", mutable = true}
//   %5:2 = sgd_update(%1, %2, %3, %4)              ->  %5 = relu(%1)
//   %6 = relu(%1)                                      %6:2 = sgd_update(%1, %2, %3, %4)
//
// Error(failure) where no order will do: a node that needs both the old value and the new one.

namespace facet {
namespace {

/// Whether the result may be the bytes of operand 0 (passes/storage.cpp decides).
bool may_be_view(const Node& node) {
  return node.op().aliasing == Aliasing::view || node.is("slice") || node.is("reorder");
}

void collect_readers(Value value, std::set<Node*>& readers) {
  for (const Use& use : value.node->uses(value.index)) {
    if (readers.insert(use.node).second && may_be_view(*use.node)) {
      collect_readers(use.node->result(), readers);
    }
  }
}

/// For every node, the updates that must wait for it.
std::map<const Node*, std::vector<Node*>> waiting_updates(const Graph& graph) {
  std::map<const Node*, std::vector<Node*>> waiting;
  for (const auto& node : graph.nodes()) {
    if (node->op().aliasing != Aliasing::update) continue;
    for (int i = 0; i < node->result_count(); ++i) {
      for (const Node* reader : readers_of_bytes(node->operand(i))) {
        if (reader != node.get()) waiting[reader].push_back(node.get());
      }
    }
  }
  return waiting;
}

/// All nodes, each behind what it waits for and otherwise in the present order.
std::vector<Node*> sunk_order(const Graph& graph) {
  const auto waiting = waiting_updates(graph);
  std::map<const Node*, int> missing;
  std::map<const Node*, std::size_t> rank;
  for (const auto& node : graph.nodes()) {
    rank.emplace(node.get(), rank.size());
    missing[node.get()] += node->operand_count();
    if (const auto found = waiting.find(node.get()); found != waiting.end()) {
      for (const Node* update : found->second) ++missing[update];
    }
  }
  const auto earlier = [&](const Node* a, const Node* b) { return rank[a] < rank[b]; };
  std::set<Node*, decltype(earlier)> ready(earlier);
  for (const auto& node : graph.nodes()) {
    if (missing[node.get()] == 0) ready.insert(node.get());
  }
  std::vector<Node*> order;
  const auto arrived = [&](Node* node) {
    if (--missing[node] == 0) ready.insert(node);
  };
  while (!ready.empty()) {
    Node* node = *ready.begin();
    ready.erase(ready.begin());
    order.push_back(node);
    for (const auto& [index, use] : node->all_uses()) arrived(use.node);
    if (const auto found = waiting.find(node); found != waiting.end()) {
      for (Node* update : found->second) arrived(update);
    }
  }
  return order;
}

[[noreturn]] void refuse(const Graph& graph, const std::vector<Node*>& order) {
  const std::set<const Node*> done(order.begin(), order.end());
  for (const auto& node : graph.nodes()) {
    if (done.contains(node.get()) || node->op().aliasing != Aliasing::update) continue;
    const Node* state = node->operand(0).node;
    throw failure(fmt::format(
        "'{}' cannot overwrite state '{}': a node needs both its old and its new value",
        node->kind(),
        state->is("parameter") ? state->attributes().text("key") : state->provenance().scope));
  }
  throw failure(fmt::format("graph '{}' has a cycle", graph.name()));
}

}  // namespace

std::vector<Node*> readers_of_bytes(Value state) {
  std::set<Node*> readers;
  collect_readers(state, readers);
  if (!state.node->is("parameter")) return {readers.begin(), readers.end()};
  const std::string& key = state.node->attributes().text("key");
  for (const auto& node : state.node->graph().nodes()) {  // the key may be read at several places
    if (node->is("parameter") && node->attributes().text("key") == key) {
      collect_readers(node->result(), readers);
    }
  }
  return {readers.begin(), readers.end()};
}

bool sink_updates(Graph& graph, PassContext&) {
  const std::vector<Node*> order = sunk_order(graph);
  if (order.size() != graph.size()) refuse(graph, order);
  if (order == graph.node_list()) return false;
  for (std::size_t i = order.size() - 1; i-- > 0;) graph.move_before(order[i], order[i + 1]);
  return true;
}

}  // namespace facet
