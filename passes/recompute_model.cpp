#include "passes/recompute_model.h"

#include <algorithm>
#include <map>
#include <span>

#include "ir/layout.h"
#include "ir/op.h"
#include "passes/memory_plan.h"
#include "passes/prepared.h"

namespace facet {
namespace {

/// A byte takes as long as this many flops, and starting a step as long as the other number.
constexpr double kFlopsPerByte = 16;
constexpr double kFlopsPerStep = 1e6;

std::int64_t in_arena(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }

/// Whether the node reads state that an update has moved on already: it would read something else
/// when a later update has run.
bool reads_moving_state(const Node& node) {
  return std::ranges::any_of(node.operands(), [](Value value) {
    return !value.node->is("parameter") && state_behind(value) != nullptr;
  });
}

bool repeats_exactly(Node& node, const Graph& graph) {
  if (node.operand_count() == 0 || node.op().aliasing == Aliasing::update) return false;
  if (reads_moving_state(node)) return false;
  for (int i = 0; i < node.result_count(); ++i) {
    if (graph.is_output(node.result(i)) && (i == 0 || !keeps_statistics(node))) return false;
  }
  return true;
}

}  // namespace

RecomputeModel::RecomputeModel(const Graph& graph, const Target& target,
                               const std::function<std::int64_t(const Node&)>& scratch) {
  const PreparedSet prepared(graph);
  std::vector<Node*> nodes;
  for (Node* node : graph.node_list()) {
    if (!node->is("input") && !is_state(*node) && !prepared.contains(node)) nodes.push_back(node);
  }
  for (Node* node : nodes) {
    steps_.emplace_back();
    steps_.back().node = node;
  }
  number_values(graph);
  const Storage storage = assign_storage(graph, nodes, target);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    RecomputeStep& step = steps_[i];
    if (step.node == graph.outputs().at(0).value.node) boundary_ = static_cast<int>(i);
    step.is_free = storage.free_steps.contains(step.node);
    if (!step.is_free && scratch) step.scratch = in_arena(scratch(*step.node));
    if (!step.node->is("concat")) continue;
    const int buffer = storage.placements.at(step.node->result()).buffer;
    for (int k = 0; k < step.node->operand_count(); ++k) {
      const auto found = storage.placements.find(step.node->operand(k));
      if (found != storage.placements.end() && found->second.buffer == buffer)
        step.slices.push_back(k);
    }
  }
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    describe(steps_[i]);
    steps_[i].may_repeat =
        static_cast<int>(i) <= boundary_ && repeats_exactly(*steps_[i].node, graph);
  }
}

void RecomputeModel::number_values(const Graph& graph) {
  std::map<Value, int> numbers;
  const auto add = [&](Value value, int producer) {
    if (state_behind(value) != nullptr) return;
    numbers.emplace(value, static_cast<int>(bytes_.size()));
    bytes_.push_back(in_arena(byte_size(value.type())));
    producer_.push_back(producer);
    pinned_.push_back(graph.is_output(value));
  };
  for (Node* input : graph.inputs()) add(input->result(), -1);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    RecomputeStep& step = steps_[i];
    for (int r = 0; r < step.node->result_count(); ++r) {
      if (state_behind(step.node->result(r)) != nullptr)
        continue;  // of an update op, or none at all
      if (step.results++ == 0) step.first_result = static_cast<int>(bytes_.size());
      add(step.node->result(r), static_cast<int>(i));
    }
  }
  readers_.resize(bytes_.size());
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    for (const Value& value : steps_[i].node->operands()) {
      const auto found = numbers.find(value);
      steps_[i].operands.push_back(found == numbers.end() ? -1 : found->second);
      if (found != numbers.end()) {
        readers_[static_cast<std::size_t>(found->second)].push_back(static_cast<int>(i));
      }
    }
  }
}

void RecomputeModel::describe(RecomputeStep& step) {
  const Node& node = *step.node;
  step.in_place = node.op().aliasing == Aliasing::in_place;
  step.flops = node.op().cost.flops(node);
  if (step.is_free) return;
  double bytes = 0;
  for (const Value& value : node.operands()) bytes += static_cast<double>(byte_size(value.type()));
  for (const Type& type : node.result_types()) bytes += static_cast<double>(byte_size(type));
  step.cost =
      (node.op().cost.is_compute() ? step.flops : 0) + kFlopsPerByte * bytes + kFlopsPerStep;
}

/// Steps whose readers are all behind the boundary and read the repetition: it is their only run.
void RecomputeModel::find_skipped(const std::vector<char>& again) {
  skipped_.assign(steps_.size(), 0);
  for (int i = boundary_; i >= 0; --i) {
    const RecomputeStep& step = steps_[static_cast<std::size_t>(i)];
    if (!again[static_cast<std::size_t>(i)] || keeps_statistics(*step.node)) continue;
    bool needed = false;
    for (int r = 0; r < step.results; ++r) {
      for (const int reader : readers(step.first_result + r)) {
        needed |= reader <= boundary_ && !skipped_[static_cast<std::size_t>(reader)];
      }
    }
    skipped_[static_cast<std::size_t>(i)] = !needed;
  }
}

int RecomputeModel::root(int id) {
  while (lives_[static_cast<std::size_t>(id)].root != id)
    id = lives_[static_cast<std::size_t>(id)].root;
  return id;
}

int RecomputeModel::resolve(int value, bool late, const std::vector<char>& again) const {
  if (!late) return value;
  const int step = producer(value);
  if (step < 0 || !again[static_cast<std::size_t>(step)]) return value;
  const RecomputeStep& made = steps_[static_cast<std::size_t>(step)];
  if (keeps_statistics(*made.node) && value != made.first_result) return value;
  return value + static_cast<int>(bytes_.size());
}

/// Makes the repetition that a late reader of the value reads, if there is to be one.
void RecomputeModel::want(int value, const std::vector<char>& again) {
  if (value < 0 || resolve(value, true, again) == value) return;
  const auto step = static_cast<std::size_t>(producer(value));
  if (repeated_[step]) return;
  repeated_[step] = 1;
  for (const int operand : steps_[step].operands) want(operand, again);
  run(static_cast<int>(step), true, true, again);
  if (skipped_[step]) return;
  estimate_.cost += steps_[step].cost;
  estimate_.flops += steps_[step].flops;
  estimate_.repeated += steps_[step].is_free ? 0 : 1;
}

void RecomputeModel::run(int index, bool repeated, bool late, const std::vector<char>& again) {
  const RecomputeStep& step = steps_[static_cast<std::size_t>(index)];
  const int now = static_cast<int>(time_step_.size());
  time_step_.push_back(index);
  const int shift = repeated ? static_cast<int>(bytes_.size()) : 0;
  const int made = repeated && keeps_statistics(*step.node) ? 1 : step.results;
  const auto touch = [&](int id) {
    Life& life = lives_[static_cast<std::size_t>(root(id))];
    life.last = now;
    life.last_step = index;
  };
  for (const int operand : step.operands) {
    if (operand >= 0) touch(resolve(operand, late, again));
  }
  for (int r = made; r < step.results; ++r) touch(step.first_result + r);  // statistics
  for (int r = 0; r < made; ++r) {
    const int id = step.first_result + r + shift;
    lives_[static_cast<std::size_t>(id)] = {id, now, now, -1};
  }
  if (step.results == 0) return;
  const int result = step.first_result + shift;
  if (!step.slices.empty()) {
    for (const int k : step.slices) {
      const int part = root(resolve(step.operands[static_cast<std::size_t>(k)], late, again));
      if ((part >= static_cast<int>(bytes_.size())) != repeated || part == result) continue;
      Life& life = lives_[static_cast<std::size_t>(result)];
      life.first = std::min(life.first, lives_[static_cast<std::size_t>(part)].first);
      lives_[static_cast<std::size_t>(part)].root = result;
    }
  } else if (step.is_free && step.operands[0] >= 0) {
    lives_[static_cast<std::size_t>(result)].root = root(resolve(step.operands[0], late, again));
  }
}

/// From lives to bytes per step.
void RecomputeModel::add_up() {
  const auto end = static_cast<int>(time_step_.size());
  change_.assign(static_cast<std::size_t>(end) + 1, 0);
  std::vector<char> taken(static_cast<std::size_t>(end), 0);
  const int values = static_cast<int>(bytes_.size());
  for (int id = 0; id < static_cast<int>(lives_.size()); ++id) {
    const Life& life = lives_[static_cast<std::size_t>(id)];
    if (life.root != id) continue;
    const std::int64_t size = bytes(id % values);
    int last = pinned_[static_cast<std::size_t>(id % values)] ? end - 1 : life.last;
    if (life.last_step >= 0 && last == life.last && !taken[static_cast<std::size_t>(last)]) {
      const RecomputeStep& reader = steps_[static_cast<std::size_t>(life.last_step)];
      if (reader.in_place && reader.results > 0 && bytes(reader.first_result) == size) {
        taken[static_cast<std::size_t>(last)] = 1;
        last = std::max(life.first, last - 1);
      }
    }
    change_[static_cast<std::size_t>(life.first)] += size;
    change_[static_cast<std::size_t>(last) + 1] -= size;
  }
  estimate_.live.assign(steps_.size(), 0);
  estimate_.peak = 0;
  std::int64_t live = 0;
  for (std::size_t t = 0; t < time_step_.size(); ++t) {
    live += change_[t];
    const std::int64_t now = live + steps_[static_cast<std::size_t>(time_step_[t])].scratch;
    std::int64_t& most = estimate_.live[static_cast<std::size_t>(times_[t])];
    most = std::max(most, now);
    estimate_.peak = std::max(estimate_.peak, now);
  }
}

const RecomputeModel::Estimate& RecomputeModel::estimate(const std::vector<char>& again) {
  find_skipped(again);
  repeated_.assign(steps_.size(), 0);
  lives_.assign(2 * bytes_.size(), {});
  time_step_.clear();
  times_.clear();
  estimate_.cost = estimate_.flops = 0;
  estimate_.repeated = 0;
  for (std::size_t v = 0; v < bytes_.size() && producer_[v] < 0; ++v) {
    lives_[v] = {static_cast<int>(v), 0, 0, -1};  // inputs
  }
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const bool late = static_cast<int>(i) > boundary_;
    if (late) {
      for (const int operand : steps_[i].operands) want(operand, again);
    }
    if (!skipped_[i]) run(static_cast<int>(i), false, late, again);
    times_.resize(time_step_.size(), static_cast<int>(i));
  }
  add_up();
  return estimate_;
}

}  // namespace facet
