#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "passes/memory_plan.h"
#include "runtime/compile.h"
#include "runtime/prepared_weights.h"

namespace facet {

/// What runs the steps, and what computes prepared weights in the host's memory: one and the same for a
/// program of the CPU.
struct Backends {
  const Backend& device;
  const Backend& host;
};

/// Where a step reads or writes: the arena, a prepared weight, or the state.
struct Address {
  const std::byte* weight = nullptr;  ///< null: in the arena or the state
  std::int64_t offset = 0;            ///< bytes from the arena's start
  int state = -1;                     ///< number of a state tensor; -1: none
};

/// One lowered step with its addresses.
struct ProgramStep {
  /// Null: nothing to do (a view, a concat written in place), or a step before it does it.
  std::unique_ptr<Kernel> kernel;
  std::size_t nodes = 1;  ///< that the kernel runs: the step's and those behind it
  std::vector<Address> operands;
  std::vector<Address> results;
  std::int64_t scratch_offset = 0;
};

/// A graph input or output in memory, row-major.
struct ProgramPort {
  std::string name;
  Type type;
  Address address;
};

/// A compiled graph of one batch size: steps over one arena and prepared weights. Immutable.
class Program {
 public:
  /// `graph` is optimised and may carry the batch symbol. `recompute_reserve`: bytes of a recompute
  /// budget that the pass leaves to gaps in the arena.
  Program(const Graph& graph, std::int64_t batch, const Backends& backends, WeightStore& weights,
          const CompileOptions& options, const ProgramInfo& optimization,
          std::int64_t recompute_reserve = 0);

  const ProgramInfo& info() const { return info_; }
  const std::vector<ProgramPort>& inputs() const { return inputs_; }
  const std::vector<ProgramPort>& outputs() const { return outputs_; }
  /// The steps that do something, in the order of info().steps, for `queue`.
  std::vector<QueuedStep> bind(DeviceQueue& queue, std::byte* arena, const State& state) const;
  /// For after these steps: copies of new state that they left in the arena to its place.
  std::vector<QueuedStep> bind_commit(DeviceQueue& queue, std::byte* arena,
                                      const State& state) const;
  /// "conv layer1.0.conv1: 12 of 802816 values of f32[...] are not finite" for the results of a step
  /// that has just run; empty if all are finite.
  std::string describe_non_finite(std::size_t step, DeviceQueue& queue, std::byte* arena,
                                  const State& state) const;
  /// A place in memory, which must not be written if it is a prepared weight.
  std::byte* pointer(const Address& address, std::byte* arena, const State& state) const;
  /// Where the arena is fullest, and what takes most there: "step 12 of 80 (conv layer1.0): layer1.0
  /// 51.4 MB, ...".
  std::string describe_peak() const;

 private:
  void split_nodes(const Backend& backend);
  void lower_steps(const Backend& backend, const CompileOptions& options);
  void lower_step(const Backend& backend, std::size_t index);
  void prepare(const Backend& host, WeightStore& weights);
  void find_updates();
  void check_updates() const;
  void describe_steps();
  std::string label(std::size_t step) const;
  /// That the step's kernel runs.
  std::span<Node* const> nodes_of(std::size_t step) const;
  Address address_of(Value value) const;
  View view_of(Value value) const;

  /// A state tensor whose new value lies in the arena after the steps.
  struct Commit {
    int state = -1;
    Address from;
    std::int64_t bytes = 0;
  };

  Graph graph_;
  std::vector<std::string> state_keys_;
  std::vector<Commit> commits_;
  std::vector<Node*> prepared_nodes_;
  std::vector<Node*> step_nodes_;
  std::vector<std::size_t> group_sizes_;  ///< of neighbours in `step_nodes_` that one kernel runs
  std::map<Value, PreparedValue> prepared_;
  Storage storage_;
  std::vector<ProgramStep> steps_;
  std::vector<ProgramPort> inputs_;
  std::vector<ProgramPort> outputs_;
  ProgramInfo info_;
};

/// A program whose arena keeps to the recompute budget of the options, if there is one: what the pass
/// estimates is checked against the plan, and a plan with gaps is made again with a lower budget.
/// Throws Error(usage) with the smallest arena in reach for a budget that cannot be met.
std::shared_ptr<const Program> make_program(const Graph& graph, std::int64_t batch,
                                            const Backends& backends, WeightStore& weights,
                                            const CompileOptions& options,
                                            const ProgramInfo& optimization);

}  // namespace facet
