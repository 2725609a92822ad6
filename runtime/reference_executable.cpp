#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <utility>

#include "backends/reference/reference.h"
#include "ir/error.h"
#include "ir/op.h"
#include "ir/text.h"
#include "runtime/compile_internal.h"
#include "runtime/prepared_weights.h"

namespace facet {
namespace {

class ReferenceExecutable final : public Executable,
                                  public std::enable_shared_from_this<ReferenceExecutable> {
 public:
  ReferenceExecutable(Graph graph, const TensorMap& weights, CompileOptions options,
                      ProgramInfo optimization)
      : graph_(std::move(graph)),
        weights_(weights),
        options_(std::move(options)),
        info_(std::move(optimization)) {
    const WeightStore checked(graph_, weights_, host_queue());  // throws when they do not fit
    info_.graph_text = to_text(graph_, {.parameters = false});
    for (const auto& node : graph_.nodes()) {
      if (node->operand_count() == 0) continue;
      StepInfo step;
      step.kind = std::string(node->kind());
      step.scope = node->provenance().scope;
      step.implementation = "reference";
      step.result_type = to_string(node->result_types()[0]);
      step.is_compute = node->op().cost.is_compute();
      info_.steps.push_back(std::move(step));
    }
  }

  const Graph& graph() const override { return graph_; }
  const CompileOptions& options() const override { return options_; }
  const ProgramInfo& program(std::int64_t) const override { return info_; }
  std::shared_ptr<State> make_state() const override {
    return std::make_shared<State>(graph_, weights_, true);
  }
  std::shared_ptr<State> take_state() const override { return make_state(); }
  std::unique_ptr<Context> make_context(std::shared_ptr<State> state) const override;
  const TensorMap& weights() const { return weights_; }

 private:
  Graph graph_;
  TensorMap weights_;
  CompileOptions options_;
  ProgramInfo info_;
};

class ReferenceContext final : public Context {
 public:
  ReferenceContext(std::shared_ptr<const ReferenceExecutable> executable,
                   std::shared_ptr<State> state)
      : executable_(std::move(executable)), state_(std::move(state)) {}

  TensorMap run(const TensorMap& inputs) override {
    resolve_batch(executable_->graph(), inputs);
    if (state_->empty()) return evaluate(executable_->graph(), inputs, executable_->weights());
    TensorMap parameters = executable_->weights();
    for (const auto& [key, tensor] : state_->tensors()) parameters[key] = tensor;
    EvaluatedStep result = evaluate_step(executable_->graph(), inputs, parameters);
    if (is_guarded_finite(executable_->options().guard, result.outputs)) state_->assign(result.updates);
    return std::move(result.outputs);
  }

  void begin(const TensorMap& inputs) override {
    if (begun_) throw usage_error("a run was begun and is not finished");
    resolve_batch(executable_->graph(), inputs);
    begun_ = inputs;
  }
  void begin() override {
    if (!staged_) throw usage_error("no inputs are staged");
    begin(*std::exchange(staged_, std::nullopt));
  }
  TensorMap finish() override {
    if (!begun_) throw usage_error("no run was begun");
    return run(*std::exchange(begun_, std::nullopt));
  }
  void stage(const TensorMap& inputs) override {
    staged_.reset();
    resolve_batch(executable_->graph(), inputs);
    staged_ = inputs;
  }

  std::string diagnose(const TensorMap&) override {
    throw usage_error("the reference device has no steps to look at; diagnose on --device cpu");
  }

  std::string describe_runs(std::int64_t) override {
    return fmt::format("{} steps", executable_->program(1).steps.size());
  }

  State& state() override { return *state_; }

  TensorMap profile(const TensorMap&, std::vector<ProfileRow>&) override {
    throw usage_error("the reference device has no steps to time; profile on --device cpu");
  }

  std::vector<double> time(std::int64_t batch, int repeats) override {
    const Graph& graph = executable_->graph();
    TensorMap inputs;
    for (const Node* input : graph.inputs()) {
      std::vector<std::int64_t> shape;
      for (const Dim& dim : input->result_types()[0].shape) {
        shape.push_back(dim.is_static() ? dim.factor : dim.factor * batch);
      }
      inputs.emplace(input->attributes().text("name"), HostTensor(DType::f32, shape));
    }
    std::vector<double> times;
    for (int i = 0; i < repeats; ++i) {
      const auto start = std::chrono::steady_clock::now();
      run(inputs);
      const auto elapsed = std::chrono::steady_clock::now() - start;
      times.push_back(std::chrono::duration<double, std::milli>(elapsed).count());
    }
    return times;
  }

  void trim() override {}

 private:
  std::shared_ptr<const ReferenceExecutable> executable_;
  std::shared_ptr<State> state_;
  std::optional<TensorMap> staged_;
  std::optional<TensorMap> begun_;
};

std::unique_ptr<Context> ReferenceExecutable::make_context(std::shared_ptr<State> state) const {
  return std::make_unique<ReferenceContext>(shared_from_this(), std::move(state));
}

}  // namespace

std::shared_ptr<const Executable> make_reference_executable(Graph graph, const TensorMap& weights,
                                                            CompileOptions options,
                                                            ProgramInfo optimization) {
  return std::make_shared<ReferenceExecutable>(std::move(graph), weights, std::move(options),
                                               std::move(optimization));
}

}  // namespace facet
