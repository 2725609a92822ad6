#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "runtime/progress.h"
#include "training/data/dataset.h"
#include "training/evaluation/protocol_log.h"
#include "training/evaluation/protocols.h"
#include "training/evaluator.h"
#include "training/loader.h"
#include "training/recipe.h"
#include "training/stepper.h"
#include "training/training_folder.h"
#include "training/training_log.h"

namespace facet {

struct TrainerOptions {
  std::filesystem::path output;  ///< see TrainingFolder
  bool resume = false;           ///< go on where the checkpoint in `output` is, if there is one
  bool quiet = false;            ///< nothing on standard error
  Device device = Device::cpu;   ///< what steps and validations run on
  std::int64_t device_memory = 0;  ///< CompileOptions::memory_limit
  bool tune = false;               ///< CompileOptions::tune
  /// What the recipe's section [evaluation] names; null: nothing. It must outlive the trainer.
  const ProtocolSets* protocols = nullptr;
  /// Asked behind every step and every validated batch: true ends the training behind a checkpoint.
  std::function<bool()> stop_requested;
  /// Called behind every step with the number of steps done since the beginning. What it throws ends
  /// the training at once, without a checkpoint.
  std::function<void(std::int64_t iteration, const StepResult& step)> on_step;
};

struct TrainingResult {
  enum class End {
    finished,    ///< all epochs
    patience,    ///< no better validation for too long
    interrupted  ///< stop_requested; a resumed training goes on
  };
  End end = End::finished;
  std::int64_t iterations = 0;  ///< since the beginning
  std::int64_t epochs = 0;      ///< whole ones
  std::int64_t skipped = 0;     ///< steps in which something was not finite
  std::int64_t bad_images = 0;  ///< pictures replaced since the beginning, each time they came
  std::int64_t left_out = 0;    ///< entries that the training set was opened without
  std::int64_t validation_left_out = 0;
  std::optional<Evaluation> validation;  ///< the last of this run
  std::optional<ProtocolResults> protocols;  ///< the last of this run
  std::optional<double> best;             ///< by EvaluationRecipe::metric
  std::int64_t best_epoch = -1;           ///< counted from 0
  std::int64_t best_iteration = 0;        ///< steps done when it was measured
  std::vector<LevelSteps::Row> steps_to;  ///< EvaluationRecipe::levels for each set of pairs
  double seconds = 0;                ///< of this run
  double images_per_second = 0;      ///< of this run's steps, with waiting for pictures
  std::int64_t arena_bytes = 0;      ///< of the training step
  std::int64_t state_bytes = 0;
};

/// "top1", "verification", "rank1".
std::string_view name_of(EvaluationRecipe::Metric metric);

/// Trains a network as a recipe says and keeps everything about it in a folder. Wherever it is
/// killed, a resumed training ends with the same weights and losses to the bit, at the same number of
/// compute threads; the number of loader threads does not matter.
class Trainer {
 public:
  /// `network` is in inference form. The data sets must outlive the trainer; `validation` may be
  /// null. Compiles, and makes or checks the folder. Throws Error(usage) for a network, recipe and
  /// data that do not fit each other (classes, input size, patience without validation), and as
  /// TrainingFolder, check_identity, check_labels and compile do.
  Trainer(Graph network, Recipe recipe, const Dataset& train, const Dataset* validation,
          TrainerOptions options);
  ~Trainer();

  /// To be called once. Throws Error(failure) when the loss or the state is not finite (see
  /// TrainingRecipe::OnNan; the last checkpoint stays), and what a loader throws.
  TrainingResult run();

 private:
  struct Position {
    std::int64_t iteration = 0;  ///< steps done
    std::int64_t epoch = 0;      ///< of the next step
    std::int64_t in_epoch = 0;   ///< steps done in it; all of them: it is not validated yet
  };

  std::int64_t epoch_size() const;  ///< pictures
  void check_data();
  void resume(const Checkpoint& checkpoint);
  bool is_done() const;
  bool stop_wanted() const { return options_.stop_requested && options_.stop_requested(); }
  void start_loader();
  std::vector<Batch> next_batches();
  void look_ahead();
  void train_step();
  void skip_step(const StepResult& step);
  bool end_epoch();
  void check_metric() const;
  CompileOptions validation_options() const;
  bool validate(Evaluation& result);
  bool protocols_due() const;
  bool run_protocols(ProtocolResults& results);
  bool evaluate_within_epoch();
  bool judge(const Evaluation* validation, const ProtocolResults* protocols);
  void check_state() const;
  void save_checkpoint() const;
  void save_weights() const;
  TrainingResult result(TrainingResult::End end) const;
  double rate_at(std::int64_t iteration) const;
  void say(const std::string& text);
  void introduce();
  void name_left_out(const char* set, const LeftOut& left_out);

  Graph network_;
  Recipe recipe_;
  const Dataset& train_;
  const Dataset* validation_;
  TrainerOptions options_;
  TrainingFolder folder_;
  TrainingIdentity identity_;
  Preprocess preprocess_;
  LossOptions loss_;
  Graph logits_;
  std::int64_t iterations_per_epoch_ = 0;
  std::unique_ptr<Stepper> stepper_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<TrainingLog> log_;
  std::unique_ptr<Progress> progress_;
  std::vector<Batch> ahead_;  ///< of the next step, which the stepper has prepared; or empty
  Position position_;
  LogWindow window_;
  std::int64_t skipped_ = 0;
  std::int64_t skipped_in_a_row_ = 0;
  std::int64_t bad_images_ = 0;
  std::int64_t stale_ = 0;  ///< validations since the best
  std::optional<double> best_;
  std::int64_t best_epoch_ = -1;
  std::int64_t best_iteration_ = 0;
  std::int64_t protocols_at_ = -1;  ///< the iteration behind which they ran last
  LevelSteps level_steps_;
  std::optional<Evaluation> last_validation_;
  std::optional<ProtocolResults> last_protocols_;
  double step_seconds_ = 0;
  std::int64_t step_pictures_ = 0;
  double seconds_ = 0;
};

}  // namespace facet
