#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "ir/graph.h"
#include "passes/target.h"

/// What `recompute` knows of a training step: its steps in order, and what they would need of
/// memory if some of the forward pass were computed again behind it.
namespace facet {

/// One step that runs. Values are numbered; -1 is one that does not lie in the arena (state).
struct RecomputeStep {
  Node* node = nullptr;
  bool may_repeat = false;  ///< of the forward pass, and gives the same again
  bool is_free = false;   ///< moves nothing: a view, or a concat whose operands lie in their slices
  bool in_place = false;  ///< its result may overwrite what it reads for the last time
  double flops = 0;
  double cost = 0;  ///< of running it once, in the time of so many flops
  std::int64_t scratch = 0;
  std::vector<int> operands;
  std::vector<int> slices;  ///< concat: operands that are written where the result has them
  int first_result = -1;    ///< number of result 0; those of the others follow
  int results = 0;
};

/// Whether the step's only repeatable result is its first one: a normalisation with its statistics.
inline bool keeps_statistics(const Node& node) { return node.is("batch_norm_train"); }

class RecomputeModel {
 public:
  /// The graph is static, with layouts, in the order in which it will run. `scratch` may be empty.
  RecomputeModel(const Graph& graph, const Target& target,
                 const std::function<std::int64_t(const Node&)>& scratch);

  const std::vector<RecomputeStep>& steps() const { return steps_; }
  /// Steps up to this one are the forward pass: it makes the first output, the loss.
  int boundary() const { return boundary_; }
  int producer(int value) const { return producer_[static_cast<std::size_t>(value)]; }
  std::int64_t bytes(int value) const { return bytes_[static_cast<std::size_t>(value)]; }
  /// Steps that read the value, in order.
  const std::vector<int>& readers(int value) const {
    return readers_[static_cast<std::size_t>(value)];
  }

  struct Estimate {
    std::vector<std::int64_t>
        live;  ///< per step: most bytes in use then, or in repeated steps before it
    std::int64_t peak = 0;
    double cost = 0;  ///< of the repeated steps
    double flops = 0;
    int repeated = 0;  ///< steps that run twice
  };
  /// `again[i]`: the readers of step i behind the boundary read what a repetition of it makes,
  /// which runs directly before the first of them. Not thread-safe.
  const Estimate& estimate(const std::vector<char>& again);
  /// Of the last estimate: steps that need not run in the forward pass any more.
  const std::vector<char>& skipped() const { return skipped_; }

 private:
  void number_values(const Graph& graph);
  static void describe(RecomputeStep& step);
  void find_skipped(const std::vector<char>& again);
  void want(int value, const std::vector<char>& again);
  void run(int step, bool repeated, bool late, const std::vector<char>& again);
  void read(int value, int step, bool from_repetition);
  int resolve(int value, bool late, const std::vector<char>& again) const;
  int root(int id);
  void add_up();

  std::vector<RecomputeStep> steps_;
  int boundary_ = -1;
  std::vector<std::int64_t> bytes_;  // per value
  std::vector<int> producer_;        // per value; -1: an input
  std::vector<char> pinned_;         // per value: an output, to the end
  std::vector<std::vector<int>> readers_;

  // One estimate. Ids: a value, or its repetition (behind all values).
  struct Life {
    int root = -1;
    int first = -1;
    int last = -1;
    int last_step = -1;  ///< the reader
  };
  std::vector<Life> lives_;
  std::vector<char> repeated_, skipped_;
  std::vector<int> times_;      // base step at or behind each point of time
  std::vector<int> time_step_;  // step that runs then
  std::vector<std::int64_t> change_;
  Estimate estimate_;
};

}  // namespace facet
