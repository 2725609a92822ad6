#include <algorithm>
#include <map>

#include "ir/layout.h"
#include "ir/op.h"
#include "passes/prepared.h"
#include "runtime/report.h"

namespace facet {
namespace {

struct Life {
  int first = 0;
  int last = 0;
};

/// The value whose bytes `value` is a view of.
Value storage_of(Value value) {
  while (value.node->op().aliasing == Aliasing::view && value.node->operand_count() > 0) {
    value = value.node->operand(0);
  }
  return value;
}

/// Steps from a value's making to its last reading; graph outputs live to the end.
std::map<Value, Life> lifetimes(const Graph& graph, const PreparedSet& prepared) {
  std::map<Value, Life> lives;
  int step = 0;
  for (const auto& node : graph.nodes()) {
    if (prepared.contains(node.get())) continue;
    for (const Value& operand : node->operands()) {
      const auto life = lives.find(storage_of(operand));
      if (life != lives.end()) life->second.last = step;
    }
    for (int i = 0; i < node->result_count(); ++i) {
      const Value value = node->result(i);
      if (storage_of(value) == value) lives.emplace(value, Life{step, step});
    }
    ++step;
  }
  for (const Output& output : graph.outputs()) {
    const auto life = lives.find(storage_of(output.value));
    if (life != lives.end()) life->second.last = step;
  }
  return lives;
}

}  // namespace

FullestStep fullest_step(const Graph& graph) {
  const PreparedSet prepared(graph);
  const std::map<Value, Life> lives = lifetimes(graph, prepared);
  std::map<int, std::int64_t> changes;  // of the live bytes, by step
  for (const auto& [value, life] : lives) {
    const std::int64_t bytes = byte_size(value.type());
    changes[life.first] += bytes;
    changes[life.last + 1] -= bytes;
  }
  FullestStep fullest;
  int fullest_number = 0;
  std::int64_t alive = 0;
  for (const auto& [number, change] : changes) {
    alive += change;
    if (alive <= fullest.bytes) continue;
    fullest.bytes = alive;
    fullest_number = number;
  }
  int step = 0;
  for (const auto& node : graph.nodes()) {
    if (prepared.contains(node.get()) || step++ != fullest_number) continue;
    fullest.kind = node->kind();
    fullest.scope = node->provenance().scope;
  }
  for (const auto& [value, life] : lives) {
    if (life.first > fullest_number || life.last < fullest_number) continue;
    fullest.values.push_back({to_string(value.type()), std::string(value.node->kind()),
                              value.node->provenance().scope, byte_size(value.type())});
  }
  std::ranges::stable_sort(fullest.values, std::greater{}, &LiveValue::bytes);
  return fullest;
}

}  // namespace facet
