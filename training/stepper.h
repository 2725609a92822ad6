#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/compile.h"
#include "training/loader.h"
#include "training/partial_fc.h"
#include "training/recipe.h"
#include "training/step_setup.h"

namespace facet {

/// What one step did.
struct StepResult {
  bool applied = true;  ///< false: something was not finite and nothing was changed
  bool overflowed =
      false;  ///< not applied, for f16 gradients of a finite loss: their scale was halved
  double loss = 0;           ///< mean over the step's pictures
  std::int64_t correct = 0;  ///< pictures whose class has the largest logit, of those sampled
  std::int64_t pictures = 0;  ///< one counts for each scale that is a row of the batch
  /// Not applied: the first operation whose result is not finite, if that was asked for.
  std::string problem;
};

/// The compiled training step of a network and everything its runs change. One thread uses it.
class Stepper {
 public:
  /// Begins with `initial_weights`. `rest` above 0: batches of so many pictures are stepped as well, the
  /// last of epochs that keep it. `base` says on what device; the rest is the recipe's. Throws as `make_training_step`, `initial_weights` and `compile`.
  Stepper(const Graph& network, const Recipe& recipe, std::int64_t classes, std::int64_t rest = 0,
          const CompileOptions& base = {});

  /// One update from `accumulate` batches of the recipe's size, or one of `rest`. `meanwhile` is
  /// called while the device works; what it throws comes out once the step is done. Throws
  /// Error(usage) for other batches.
  StepResult step(std::span<const Batch> batches, double learning_rate,
                  const std::function<void()>& meanwhile = {});
  /// Whether the next step's batches can be on their way while a step runs: on a device of its own,
  /// where nothing of the step is needed for them.
  bool prepares() const;
  /// Copies the batches of the next `step`, which must be given these and this rate. To be called
  /// before it or in the `meanwhile` of the step ahead. Throws as `step`.
  void prepare(std::span<const Batch> batches, double learning_rate);

  /// Everything by key: the whole state_dict, head and centres, optimizer state, averages. On the host it
  /// shares memory with the state: it changes with the next step.
  TensorMap tensors() const;
  /// Goes on from what `tensors` was, of the same keys and types.
  void assign(const TensorMap& tensors);
  /// The network's state_dict; with `averaged`, averages in place of the parameters that have one.
  TensorMap weights(bool averaged) const;
  /// What the loss added: the head's and other centres. Empty for plain cross entropy. Sampled centres
  /// of v2 are a copy in which no row is owed a step.
  TensorMap head(bool averaged) const;
  /// The first tensor of the state that has a value which is not finite: "conv1.weight: 3 of 864
  /// values"; empty if there is none.
  std::string describe_non_finite() const;

  /// What is computed in which precision, and bytes: a few lines.
  std::string describe() const;
  const ProgramInfo& program() const { return executable_->program(1); }
  /// Everything that runs change.
  std::int64_t state_bytes() const;

 private:
  void compile_step(const Graph& network, StepOptions options, const Recipe& recipe,
                    std::int64_t rest);
  TensorMap inputs_of(const Batch& batch);
  HostTensor pixels_of(const Batch& batch);
  Context& context_for(const Batch& batch) const;
  bool finish(Context& context, const TensorMap& inputs, StepResult& result);
  void take_back(const TensorMap& before);
  TensorMap select(bool averaged, bool of_network) const;

  std::vector<std::string> picture_names_;  ///< of each scale's input; or one for all
  Preprocess preprocess_;  ///< of batches that come as bytes
  HostTensor pixels_;      ///< their values; every step uses the memory again
  HostTensor other_pixels_;                 ///< those made before it, where steps are prepared
  std::optional<TensorMap> prepared_;       ///< inputs that the next step's context has staged
  std::int64_t scales_;                     ///< that a batch brings
  std::int64_t batch_;
  std::int64_t rest_;
  std::int64_t accumulate_;
  bool mixed_;
  bool explain_;
  Precision precision_;
  CompileOptions base_;
  std::vector<std::string> network_keys_;
  std::map<std::string, std::int64_t> tracked_;  ///< num_batches_tracked: how often a run applies it
  std::shared_ptr<const Executable> executable_;
  std::shared_ptr<State> state_;
  std::unique_ptr<Context> context_;
  std::unique_ptr<Context> rest_context_;  ///< null without a rest
  std::unique_ptr<Context> accumulating_;  ///< null without accumulation
  std::vector<std::string> taken_back_;    ///< what accumulating runs change but for the sums
  std::vector<std::string> sums_;
  std::unique_ptr<PartialFc> partial_;     ///< null if all centres take part in every step
  TensorMap constant_;                     ///< parameters that no run changes, and counters
};

}  // namespace facet
