#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/ceilings.h"
#include "ir/graph.h"
#include "ir/host_tensor.h"
#include "passes/pass.h"
#include "runtime/state.h"

namespace facet {

enum class Device { cpu, reference, cuda };
enum class Precision { f32, bf16, f16, tf32 };
/// "cpu", "reference", "cuda" / "f32", "bf16", "f16", "tf32". Throw Error(usage) with the known names.
Device parse_device(std::string_view name);
Precision parse_precision(std::string_view name);
std::string_view to_string(Device device);
std::string_view to_string(Precision precision);

struct CompileOptions {
  Device device = Device::cpu;
  /// f32 unless asked; bf16 computes convolutions and matrix products on bf16 operands with f32
  /// accumulation, stores activations in bf16, and gives f32 outputs; f16 (cuda; a training step
  /// that scales its loss) likewise. tf32 (cuda) keeps f32 everywhere but may round the factors of
  /// products to 10 bits of mantissa.
  Precision precision = Precision::f32;
  /// Of a GPU: bytes of its memory that the whole program may take; 0: all.
  std::int64_t memory_limit = 0;
  /// Of a GPU: library engines are chosen by running them, in place of what the library expects of
  /// them. Compiling takes longer, once for each step and machine.
  bool tune = false;
  /// Scopes whose outputs become outputs too.
  std::vector<std::string> taps;
  /// Outputs to keep; empty keeps all.
  std::vector<std::string> outputs;
  /// An output, "loss" say: a run in which it is not finite leaves the state exactly as it was. Update
  /// ops do nothing when their learning rate is not finite; the graph has to make it so (the step
  /// graphs of training/ do).
  std::string guard;
  /// Of a training step on the CPU: what is computed again rather than kept. A budget is of the arena.
  RecomputePolicy recompute = {};
  /// false: only what the target needs to run the graph (decomposition, layouts), no fusion and no
  /// sharing of memory.
  bool optimize = true;
  /// Names of passes to skip.
  std::vector<std::string> disabled_passes;
  /// Called after each pass that runs, e.g. to print the graph.
  std::function<void(std::string_view pass, const Graph& graph)> after_pass;
};

/// One step of a compiled program, for profiles, reports and floors.
struct StepInfo {
  std::string kind;            ///< op name
  std::string scope;           ///< DSL scope
  std::vector<std::string> origins;  ///< scopes a fused step stands for
  std::string implementation;  ///< "brg_conv_fwd:avx512_core"
  std::string result_type;
  double flops = 0;
  double bytes = 0;  ///< operands and results, each once
  bool is_compute = false;
};

/// What a program of one batch size is made of.
struct ProgramInfo {
  std::int64_t batch = 0;
  std::vector<StepInfo> steps;
  std::int64_t arena_bytes = 0;
  std::int64_t lower_bound_bytes = 0;
  std::int64_t state_bytes = 0;     ///< what runs change: parameters under training, statistics
  std::int64_t prepared_bytes = 0;  ///< weights as the kernels read them
  RecomputeReport recomputed;
  std::int64_t plain_arena_bytes = 0;  ///< under a recompute budget: the arena without it; else 0
  int reorders = 0;                 ///< layout changes of activations, at run time
  int concat_slices = 0;
  int concat_copies = 0;
  std::vector<PassReport> passes;
  std::vector<Remark> remarks;
  std::string graph_text;  ///< after the last pass
  double compile_seconds = 0;  ///< passes, lowering, plan; without weights
  double prepare_seconds = 0;  ///< folding and prepacking weights
};

class Context;

/// A compiled network with its weights. Immutable as seen from outside and shared; safe from several
/// threads. Programs for further batch sizes are compiled when first asked for and kept (the eight
/// used last); all share the weights and prepared copies that are equal.
class Executable {
 public:
  virtual ~Executable() = default;
  virtual const Graph& graph() const = 0;  ///< as given, taps promoted
  virtual const CompileOptions& options() const = 0;
  /// The program for this batch size; compiles it if needed. For a graph without symbols, pass 1.
  virtual const ProgramInfo& program(std::int64_t batch) const = 0;
  /// What the device can do at best, as Backend::measure_ceilings has it.
  virtual std::optional<Ceilings> measure_ceilings() const { return std::nullopt; }
  /// The state as the weights at compile time have it; empty for a graph without updates.
  virtual std::shared_ptr<State> make_state() const = 0;
  /// The same without a copy: the bytes that `compile` was given become the state's, so training holds
  /// its parameters and moments once. They must be writable (no mapped file) and read by nobody else.
  /// Afterwards make_state and take_state throw Error(usage).
  virtual std::shared_ptr<State> take_state() const = 0;
  /// One thread's working memory and bound kernels. Runs change `state`, which programs of one
  /// training run share; it must have what the graph updates.
  virtual std::unique_ptr<Context> make_context(std::shared_ptr<State> state) const = 0;
  /// The same with a state of its own.
  std::unique_ptr<Context> make_context() const { return make_context(make_state()); }
};

struct ProfileRow {
  std::size_t step = 0;  ///< index into ProgramInfo::steps
  double milliseconds = 0;
};

/// Runs an Executable on one thread's OpenMP team. Not synchronised.
class Context {
 public:
  virtual ~Context() = default;
  /// All inputs by name, row-major; float inputs of another dtype are converted. Returns all outputs
  /// in f32 (f64 on the reference device). Throws Error(usage) for a missing, unknown or mis-shaped
  /// input, with what is expected.
  virtual TensorMap run(const TensorMap& inputs) = 0;
  /// `run` in two parts: what lies between them is done while the device works, if it is none of
  /// the host. The state must not be touched in between, nor `inputs` be written. `begin` without
  /// inputs takes those of `stage`. Throws as `run`, and Error(usage) for a second `begin` or a
  /// `finish` without one.
  virtual void begin(const TensorMap& inputs) = 0;
  virtual void begin() = 0;
  virtual TensorMap finish() = 0;
  /// The inputs of the next `begin`, which replace those staged before; they must not be written
  /// until it was called. A device of its own copies them while a run goes on. Throws as `run`, and
  /// then nothing is staged.
  virtual void stage(const TensorMap& inputs) = 0;
  /// The same as `run`, timing every step.
  virtual TensorMap profile(const TensorMap& inputs, std::vector<ProfileRow>& rows) = 0;
  /// Runs the program of this batch `repeats` times on a fixed input pattern and returns each run's
  /// milliseconds: what benchmarks time, without copies in and out.
  virtual std::vector<double> time(std::int64_t batch, int repeats) = 0;
  /// How runs of this batch go on from now: "80 steps", "one CUDA graph of 80 steps", or one by one and
  /// why.
  virtual std::string describe_runs(std::int64_t batch) = 0;
  /// Runs on a copy of the state and names the first step that made a value that is not finite: what,
  /// where, how many. Empty if there is none.
  virtual std::string diagnose(const TensorMap& inputs) = 0;
  /// What runs change. `time` changes it, too.
  virtual State& state() = 0;
  /// Frees the arenas of all batch sizes; the next run allocates anew.
  virtual void trim() = 0;
};

/// Compiles for `batch` at once (others on demand). `weights` holds the whole state_dict. Throws as
/// `require_device` (runtime/device_modules.h) for a device that needs a module.
std::shared_ptr<const Executable> compile(const Graph& graph, const TensorMap& weights,
                                          const CompileOptions& options = {},
                                          std::int64_t batch = 1);

}  // namespace facet
