#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cmath>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "ir/error.h"
#include "ir/op.h"
#include "runtime/compile_internal.h"
#include "runtime/program.h"

namespace facet {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

constexpr std::size_t kProgramsKept = 8;

/// Compiled for a Backend: programs by batch size over one set of weights.
class CompiledExecutable final : public Executable,
                                 public std::enable_shared_from_this<CompiledExecutable> {
 public:
  CompiledExecutable(Graph graph, Graph optimized, const TensorMap& weights, CompileOptions options,
                     ProgramInfo optimization, ExecutableBackends backends)
      : graph_(std::move(graph)),
        optimized_(std::move(optimized)),
        options_(std::move(options)),
        optimization_(std::move(optimization)),
        backends_(std::move(backends)),
        weights_(graph_, weights, device().make_queue()) {
    for (const Output& update : graph_.updates()) {
      const auto it = weights.find(update.name);
      if (it != weights.end()) initial_.insert(*it);
    }
  }

  const Graph& graph() const override { return graph_; }
  const CompileOptions& options() const override { return options_; }
  const ProgramInfo& program(std::int64_t batch) const override {
    return shared_program(batch)->info();
  }
  std::optional<Ceilings> measure_ceilings() const override { return device().measure_ceilings(); }
  std::shared_ptr<State> make_state() const override {
    const std::lock_guard lock(mutex_);
    check_not_taken();
    TensorMap copy;
    for (const auto& [key, tensor] : initial_) copy.emplace(key, tensor.clone());
    return std::make_shared<State>(graph_, std::move(copy), device());
  }
  std::shared_ptr<State> take_state() const override {
    const std::lock_guard lock(mutex_);
    check_not_taken();
    taken_ = true;
    return std::make_shared<State>(graph_, std::exchange(initial_, {}), device());
  }
  std::unique_ptr<Context> make_context(std::shared_ptr<State> state) const override;

  /// What compiling and the making of weights left behind would count against the arena's peak.
  void return_free_memory() const {
    device().end_lowering();
    host().end_lowering();
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
  }

  const Backend& device() const { return *backends_.device; }
  /// What computes prepared weights.
  const Backend& host() const { return backends_.host ? *backends_.host : device(); }

  std::shared_ptr<const Program> shared_program(std::int64_t batch) const {
    if (batch < 1) throw usage_error(fmt::format("a batch of {} cannot run", batch));
    const std::lock_guard lock(mutex_);
    for (auto it = programs_.begin(); it != programs_.end(); ++it) {
      if ((*it)->info().batch != batch) continue;
      programs_.splice(programs_.begin(), programs_, it);
      return programs_.front();
    }
    programs_.push_front(
        make_program(optimized_, batch, {device(), host()}, weights_, options_, optimization_));
    if (programs_.size() > kProgramsKept) programs_.pop_back();
    return programs_.front();
  }

 private:
  void check_not_taken() const {
    if (taken_)
      throw usage_error("the executable's initial state was taken; make states before that");
  }

  Graph graph_;
  Graph optimized_;
  CompileOptions options_;
  ProgramInfo optimization_;  // what the symbolic passes reported
  ExecutableBackends backends_;
  mutable TensorMap initial_;  // what `make_state` copies
  mutable bool taken_ = false;
  mutable WeightStore weights_;
  mutable std::mutex mutex_;
  mutable std::list<std::shared_ptr<const Program>> programs_;  // last used first
};

class CompiledContext final : public Context {
 public:
  CompiledContext(std::shared_ptr<const CompiledExecutable> executable,
                  std::shared_ptr<State> state)
      : executable_(std::move(executable)),
        state_(std::move(state)),
        queue_(executable_->device().make_queue()) {}

  TensorMap run(const TensorMap& inputs) override {
    begin(inputs);
    return finish();
  }

  void begin(const TensorMap& inputs) override {
    check_none_begun();
    Instance& instance = load(inputs);
    instance.replay->run();
    begun_ = &instance;
  }

  void begin() override {
    check_none_begun();
    if (!staged_) throw usage_error("no inputs are staged");
    const TensorMap inputs = *std::exchange(staged_, std::nullopt);
    Instance* const instance = std::exchange(staged_in_, nullptr);
    if (instance == nullptr) return begin(inputs);
    queue_->take_ahead();
    std::int64_t at = 0;
    for (const ProgramPort& port : instance->program->inputs()) {
      const std::int64_t bytes = byte_size(port.type);
      queue_->copy(instance->arena.get() + port.address.offset, instance->staging.get() + at,
                   bytes);
      at += staging_bytes(port);
    }
    queue_->allow_ahead();
    instance->replay->run();
    begun_ = instance;
  }

  TensorMap finish() override {
    if (begun_ == nullptr) throw usage_error("no run was begun");
    return finish(*std::exchange(begun_, nullptr));
  }

  void stage(const TensorMap& inputs) override {
    staged_.reset();
    staged_in_ = nullptr;
    const std::int64_t batch = resolve_batch(executable_->graph(), inputs);
    const auto known = instances_.find(batch);
    // Making an instance waits for the device, and the host is its own device.
    if (known != instances_.end() && queue_ != host_queue()) {
      copy_ahead(known->second, inputs);
      staged_in_ = &known->second;
    }
    staged_ = inputs;
  }

  std::string diagnose(const TensorMap& inputs) override {
    check_none_begun();
    const TensorMap before = state_->snapshot();
    Instance& instance = load(inputs);
    std::string found;
    const std::vector<QueuedStep>& steps = instance.replay->steps();
    for (std::size_t i = 0; found.empty() && i < steps.size(); ++i) {
      steps[i].run();
      found = instance.program->describe_non_finite(i, *queue_, instance.arena.get(), *state_);
    }
    queue_->wait();
    state_->assign(before);
    return found;
  }

  std::string describe_runs(std::int64_t batch) override {
    return instance_of(batch).replay->describe();
  }

  State& state() override { return *state_; }

  TensorMap profile(const TensorMap& inputs, std::vector<ProfileRow>& rows) override {
    check_none_begun();
    Instance& instance = load(inputs);
    rows.clear();
    const std::vector<QueuedStep>& steps = instance.replay->steps();
    for (std::size_t i = 0; i < steps.size(); ++i) {
      rows.push_back({i, queue_->milliseconds(steps[i].run)});
    }
    return finish(instance);
  }

  std::vector<double> time(std::int64_t batch, int repeats) override {
    check_none_begun();
    Instance& instance = instance_of(batch);
    std::vector<double> times;
    for (int i = 0; i < repeats; ++i) {
      fill_inputs(instance);  // the plan gives their bytes to later steps
      queue_->wait();
      const Clock::time_point start = Clock::now();
      instance.replay->run();
      instance.commit->run();
      queue_->wait();
      times.push_back(milliseconds_since(start));
    }
    return times;
  }

  void trim() override {
    check_none_begun();
    forget_instances();
  }

 private:
  struct Instance {
    std::shared_ptr<const Program> program;
    std::shared_ptr<std::byte> arena;
    std::unique_ptr<Replay> replay;
    std::unique_ptr<Replay> commit;
    std::shared_ptr<std::byte> staging;  ///< of the inputs, one behind the other; null until used
  };

  void check_none_begun() const {
    if (begun_ != nullptr) throw usage_error("a run was begun and is not finished");
  }

  /// What is staged in one of them is then staged on the host alone.
  void forget_instances() {
    staged_in_ = nullptr;
    instances_.clear();
  }

  /// Bytes of an input's place in the staging memory.
  static std::int64_t staging_bytes(const ProgramPort& port) {
    return (byte_size(port.type) + 63) / 64 * 64;
  }

  void copy_ahead(Instance& instance, const TensorMap& inputs) {
    const std::vector<ProgramPort>& ports = instance.program->inputs();
    if (instance.staging == nullptr) {
      std::int64_t bytes = 0;
      for (const ProgramPort& port : ports) bytes += staging_bytes(port);
      instance.staging = queue_->allocate(bytes, "inputs");
    }
    std::byte* to = instance.staging.get();
    for (const ProgramPort& port : ports) {
      const HostTensor tensor = inputs.at(port.name).cast(port.type.dtype);
      queue_->write_ahead(to, tensor.data(), tensor.byte_count());
      to += staging_bytes(port);
    }
  }

  Instance& instance_of(std::int64_t batch) {
    const auto it = instances_.find(batch);
    if (it != instances_.end()) return it->second;
    if (instances_.size() >= kProgramsKept) forget_instances();
    Instance instance;
    instance.program = executable_->shared_program(batch);
    executable_->return_free_memory();
    instance.arena = allocate_arena(*instance.program);
    std::byte* const arena = instance.arena.get();
    instance.replay = queue_->record(instance.program->bind(*queue_, arena, *state_));
    instance.commit = queue_->record(instance.program->bind_commit(*queue_, arena, *state_));
    return instances_.emplace(batch, std::move(instance)).first->second;
  }

  std::shared_ptr<std::byte> allocate_arena(const Program& program) {
    try {
      return queue_->allocate(program.info().arena_bytes, "arena");
    } catch (Error& error) {
      error.add_context(fmt::format("making the arena of batch {}: {}", program.info().batch,
                                    program.describe_peak()));
      throw;
    }
  }

  Instance& load(const TensorMap& inputs) {
    const std::int64_t batch = resolve_batch(executable_->graph(), inputs);
    Instance& instance = instance_of(batch);
    for (const ProgramPort& port : instance.program->inputs()) {
      const HostTensor tensor = inputs.at(port.name).cast(port.type.dtype);
      queue_->write(instance.arena.get() + port.address.offset, tensor.data(), tensor.byte_count());
    }
    return instance;
  }

  /// Float inputs become a fixed pattern in [-1, 1), single numbers (a learning rate) and others
  /// zero: what timing runs on.
  void fill_inputs(const Instance& instance) {
    for (const ProgramPort& port : instance.program->inputs()) {
      HostTensor tensor(port.type.dtype, static_extents(port.type.shape));
      const std::int64_t count = tensor.element_count();
      if (port.type.dtype == DType::f32 && count != 1) {
        auto* values = tensor.as_mutable<float>();
        for (std::int64_t i = 0; i < count; ++i) {
          values[i] = static_cast<float>((i * 2654435761u >> 8) & 0xFFFF) / 32768.0F - 1.0F;
        }
      }
      queue_->write(instance.arena.get() + port.address.offset, tensor.data(), tensor.byte_count());
    }
  }

  TensorMap finish(const Instance& instance) const {
    TensorMap outputs = collect(instance);
    if (is_guarded_finite(executable_->options().guard, outputs)) {
      instance.commit->run();
      queue_->wait();
    }
    return outputs;
  }

  TensorMap collect(const Instance& instance) const {
    TensorMap outputs;
    for (const ProgramPort& port : instance.program->outputs()) {
      HostTensor tensor(port.type.dtype, static_extents(port.type.shape));
      const std::byte* from =
          instance.program->pointer(port.address, instance.arena.get(), *state_);
      queue_->read(tensor.mutable_data(), from, tensor.byte_count());
      outputs.emplace(port.name, std::move(tensor));
    }
    return outputs;
  }

  std::shared_ptr<const CompiledExecutable> executable_;
  std::shared_ptr<State> state_;
  std::shared_ptr<DeviceQueue> queue_;
  std::map<std::int64_t, Instance> instances_;
  Instance* begun_ = nullptr;        ///< whose run is not finished
  std::optional<TensorMap> staged_;  ///< the inputs of the next run
  Instance* staged_in_ = nullptr;    ///< that has copied them; null: none
};

std::unique_ptr<Context> CompiledExecutable::make_context(std::shared_ptr<State> state) const {
  return std::make_unique<CompiledContext>(shared_from_this(), std::move(state));
}

}  // namespace

bool is_guarded_finite(const std::string& guard, const TensorMap& outputs) {
  if (guard.empty()) return true;
  const auto it = outputs.find(guard);
  if (it == outputs.end())
    throw usage_error(fmt::format("there is no output '{}' to guard", guard));
  for (std::int64_t i = 0; i < it->second.element_count(); ++i) {
    if (!std::isfinite(it->second.at(i))) return false;
  }
  return true;
}

std::int64_t resolve_batch(const Graph& graph, const TensorMap& inputs) {
  std::set<std::string> known;
  std::string expected;
  for (const Node* input : graph.inputs()) {
    known.insert(input->attributes().text("name"));
    expected += fmt::format(" {} : {}", input->attributes().text("name"),
                            to_string(input->result_types()[0]));
  }
  for (const auto& [name, tensor] : inputs) {
    if (!known.contains(name)) {
      throw usage_error(
          fmt::format("network '{}' has no input '{}'; it takes{}", graph.name(), name, expected));
    }
  }
  std::int64_t batch = -1;
  for (const Node* input : graph.inputs()) {
    const std::string& name = input->attributes().text("name");
    const auto it = inputs.find(name);
    if (it == inputs.end()) {
      throw usage_error(
          fmt::format("input '{}' is missing; network '{}' takes{}", name, graph.name(), expected));
    }
    const std::vector<std::int64_t>& shape = it->second.shape();
    const Shape& wanted = input->result_types()[0].shape;
    bool fits = shape.size() == wanted.size();
    for (std::size_t i = 0; fits && i < shape.size(); ++i) {
      if (wanted[i].is_static()) {
        fits = shape[i] == wanted[i].factor;
      } else if (batch < 0 && shape[i] > 0 && shape[i] % wanted[i].factor == 0) {
        batch = shape[i] / wanted[i].factor;
      } else {
        fits = shape[i] > 0 && shape[i] == batch * wanted[i].factor;
      }
    }
    if (!fits) {
      throw usage_error(fmt::format("input '{}' is [{}], but network '{}' takes {}", name,
                                    fmt::join(shape, ", "), graph.name(),
                                    to_string(input->result_types()[0])));
    }
  }
  return std::max<std::int64_t>(batch, 1);
}

std::shared_ptr<const Executable> make_compiled_executable(
    Graph graph, Graph optimized, const TensorMap& weights, CompileOptions options,
    ProgramInfo optimization, ExecutableBackends backends, std::int64_t batch) {
  auto executable = std::make_shared<CompiledExecutable>(
      std::move(graph), std::move(optimized), weights, std::move(options), std::move(optimization),
      std::move(backends));
  executable->program(batch);
  return executable;
}

}  // namespace facet
