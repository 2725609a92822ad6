#include "training/trainer.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <utility>

#include "ir/error.h"
#include "training/recipe_data.h"

namespace facet {
namespace {

constexpr std::int64_t kMostSkipped = 100;   // steps in a row: it will not recover
constexpr std::int64_t kProblemsShown = 5;   // pictures that cannot be read

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Trainer::~Trainer() = default;

TrainingResult Trainer::run() {
  const Clock::time_point start = Clock::now();
  introduce();
  const std::int64_t per_step = recipe_.training.batch * recipe_.optimizer.accumulate;
  if (!options_.quiet && !is_done()) {
    progress_ = std::make_unique<Progress>(
        "train", iterations_per_epoch_ * recipe_.training.epochs * per_step, "images",
        position_.iteration * per_step);
  }
  bool interrupted = false;
  while (!is_done() && !interrupted) {
    if (position_.in_epoch == iterations_per_epoch_) {
      interrupted = !end_epoch();
      continue;
    }
    if (protocols_due()) {
      interrupted = !evaluate_within_epoch();
      continue;
    }
    train_step();
    interrupted = stop_wanted();
    const bool ends_epoch = position_.in_epoch == iterations_per_epoch_;
    const std::int64_t every = recipe_.training.checkpoint_every;
    if (!interrupted && !ends_epoch && every > 0 && position_.iteration % every == 0) {
      save_checkpoint();
    }
  }
  loader_.reset();
  if (interrupted) save_checkpoint();
  save_weights();
  if (progress_ && !interrupted && position_.epoch == recipe_.training.epochs) progress_->finish();
  progress_.reset();
  seconds_ = seconds_since(start);
  if (interrupted) return result(TrainingResult::End::interrupted);
  return result(position_.epoch == recipe_.training.epochs ? TrainingResult::End::finished
                                                           : TrainingResult::End::patience);
}

bool Trainer::is_done() const {
  const std::int64_t patience = recipe_.training.patience;
  return position_.epoch >= recipe_.training.epochs || (patience > 0 && stale_ >= patience);
}

double Trainer::rate_at(std::int64_t iteration) const {
  return learning_rate(recipe_.schedule, recipe_.optimizer.learning_rate, iteration,
                       iterations_per_epoch_, recipe_.training.epochs);
}

void Trainer::start_loader() {
  LoaderOptions options =
      training_loader(recipe_, position_.epoch, position_.in_epoch * recipe_.optimizer.accumulate);
  options.bytes = true;  // the stepper normalises them
  loader_ = std::make_unique<Loader>(train_, preprocess_, recipe_.augmentation, options);
}

/// The batches of the next step. Those at the end of an epoch that fill no step are left out.
std::vector<Batch> Trainer::next_batches() {
  if (!loader_) start_loader();
  const auto wanted = static_cast<std::size_t>(recipe_.optimizer.accumulate);
  std::vector<Batch> batches;
  while (batches.size() < wanted) {
    Batch batch = *loader_->next();  // endless
    if (batch.epoch < position_.epoch) continue;
    batches.push_back(std::move(batch));
  }
  return batches;
}

/// Has the batches of the step behind the one that runs on their way, within an epoch.
void Trainer::look_ahead() {
  if (!stepper_->prepares() || position_.in_epoch + 1 >= iterations_per_epoch_) return;
  ahead_ = next_batches();
  stepper_->prepare(ahead_, rate_at(position_.iteration + 1));
}

void Trainer::train_step() {
  const Clock::time_point start = Clock::now();
  const std::int64_t iteration = position_.iteration;
  const double rate = rate_at(iteration);
  const std::vector<Batch> batches = ahead_.empty() ? next_batches() : std::exchange(ahead_, {});
  for (const Batch& batch : batches) {
    for (const BadImage& problem : batch.problems) {
      if (++bad_images_ <= kProblemsShown) say("replaced by another picture: " + problem.message);
    }
  }
  const StepResult step = stepper_->step(batches, rate, [this] { look_ahead(); });
  if (!step.applied) skip_step(step);
  const double seconds = seconds_since(start);
  step_seconds_ += seconds;
  step_pictures_ += step.pictures;
  if (step.applied) skipped_in_a_row_ = 0;
  window_.add(step, seconds);
  ++position_.iteration;
  ++position_.in_epoch;
  if (progress_) {
    progress_->set_status(fmt::format("epoch {}/{}, loss {:.4f}, accuracy {:.1f}%, lr {:.3g}",
                                      position_.epoch + 1, recipe_.training.epochs,
                                      window_.loss().value_or(NAN),
                                      window_.accuracy().value_or(NAN) * 100, rate));
    progress_->advance(recipe_.training.batch * recipe_.optimizer.accumulate);
  }
  const bool ends_epoch = position_.in_epoch == iterations_per_epoch_;
  if (!ends_epoch && !protocols_due() && position_.iteration % recipe_.training.log_every == 0) {
    log_->row(iteration, rate, window_, nullptr, nullptr);
    window_ = {};
  }
  if (options_.on_step) options_.on_step(position_.iteration, step);
}

/// Ends the training unless such steps are to be skipped.
void Trainer::skip_step(const StepResult& step) {
  const std::string where =
      step.overflowed
          ? fmt::format(
                "gradients overflow f16 at iteration {} (epoch {}) whatever the scale of the loss",
                position_.iteration, position_.epoch + 1)
          : fmt::format("the loss is {} at iteration {} (epoch {})", step.loss, position_.iteration,
                        position_.epoch + 1);
  if (recipe_.training.on_nan == TrainingRecipe::OnNan::stop && !step.overflowed) {
    throw failure(fmt::format(
        "{}: {}\nnothing was written since the last checkpoint, which is good; lower "
        "optimizer.learning_rate, set optimizer.clip_norm, or go on without such steps: "
        "--resume with training.on_nan=skip", where,
        step.problem.empty() ? "every operation's results were finite when it was run again"
                             : step.problem));
  }
  ++skipped_;
  if (++skipped_in_a_row_ < kMostSkipped) return;
  throw failure(fmt::format("{}, and at the {} steps before it, so that nothing moves any more; the "
                            "last checkpoint is good: lower optimizer.learning_rate or set "
                            "optimizer.clip_norm and begin anew", where, kMostSkipped - 1));
}

TrainingResult Trainer::result(TrainingResult::End end) const {
  TrainingResult result;
  result.end = end;
  result.iterations = position_.iteration;
  result.epochs = position_.epoch;
  result.skipped = skipped_;
  result.bad_images = bad_images_;
  result.left_out = train_.left_out().count;
  if (validation_ != nullptr) result.validation_left_out = validation_->left_out().count;
  result.validation = last_validation_;
  result.protocols = last_protocols_;
  result.best = best_;
  result.best_epoch = best_epoch_;
  result.best_iteration = best_iteration_;
  result.steps_to = level_steps_.rows();
  result.seconds = seconds_;
  result.images_per_second =
      step_seconds_ > 0 ? static_cast<double>(step_pictures_) / step_seconds_ : 0;
  result.arena_bytes = stepper_->program().arena_bytes;
  result.state_bytes = stepper_->state_bytes();
  return result;
}

void Trainer::say(const std::string& text) {
  if (options_.quiet) return;
  if (progress_) return progress_->note(text);
  fmt::print(stderr, "{}\n", text);
}

}  // namespace facet
