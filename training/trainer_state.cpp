// How a training begins and what it keeps: checks, validation, checkpoints, weights.

#include <fmt/format.h>

#include <utility>

#include "ir/error.h"
#include "training/recipe_data.h"
#include "training/trainer.h"

namespace facet {

Trainer::Trainer(Graph network, Recipe recipe, const Dataset& train, const Dataset* validation,
                 TrainerOptions options)
    : network_(std::move(network)),
      recipe_(std::move(recipe)),
      train_(train),
      validation_(validation),
      options_(std::move(options)),
      folder_(options_.output, options_.resume),
      loss_(loss_options(recipe_, train.class_count())),
      logits_(logits_network(network_, loss_)) {
  check_recipe(recipe_);
  check_data();
  identity_ = {recipe_, fingerprint(network_), train_.fingerprint(),
               validation_ != nullptr ? validation_->fingerprint() : 0};
  if (options_.protocols != nullptr) {
    level_steps_ = LevelSteps(*options_.protocols, recipe_.evaluation.levels);
    identity_.validation = identity_.validation * 31 + options_.protocols->fingerprint();
  }
  const std::optional<Checkpoint> checkpoint =
      options_.resume ? folder_.checkpoint() : std::nullopt;
  Recipe begin = recipe_;
  if (checkpoint) {  // its weights are in the checkpoint
    begin.model.init.clear();
    begin.model.init_branches = false;
  }
  const std::int64_t rest = recipe_.data.drop_last ? 0 : epoch_size() % recipe_.training.batch;
  stepper_ = std::make_unique<Stepper>(network_, begin, train_.class_count(), rest, validation_options());
  if (checkpoint) resume(*checkpoint);
  folder_.make();
  folder_.write(recipe_);
  const bool unfinished = position_.in_epoch == iterations_per_epoch_ || protocols_due();
  // The row that ends an epoch or has protocols may be there already, but not what came of it.
  log_ = std::make_unique<TrainingLog>(
      folder_.path(), options_.resume ? position_.iteration - (unfinished ? 1 : 0) : -1,
      options_.protocols != nullptr ? protocol_columns(*options_.protocols) : std::vector<LogColumn>());
}

std::int64_t Trainer::epoch_size() const {
  return Sampler(train_, sampler_options(recipe_)).size();
}

void Trainer::check_data() {
  const std::int64_t classes = logits_width(logits_);
  if (train_.class_count() > classes) {
    throw usage_error(fmt::format(
        "the training set has {0} classes, network '{1}' tells {2} apart; set the number in the "
        "recipe (num_classes = {0} in [model.settings]) or on the command line "
        "(model.settings.num_classes={0}; --set num_classes={0} where a model is named)",
        train_.class_count(), network_.name(), classes));
  }
  check_labels(train_, classes);
  if (validation_ != nullptr) check_labels(*validation_, classes);
  check_metric();
  const PictureInput input = picture_inputs(network_, recipe_).front();
  preprocess_ = preprocess_of(recipe_.data, input.height, input.width);
  if (preprocess_.height != input.height || preprocess_.width != input.width) {
    throw usage_error(fmt::format("data.height and data.width make pictures of {} x {}, network '{}' "
                                  "takes {} x {}; leave them out, or set the network's input_size",
                                  preprocess_.height, preprocess_.width, network_.name(),
                                  input.height, input.width));
  }
  const std::int64_t pictures = recipe_.training.batch * recipe_.optimizer.accumulate;
  iterations_per_epoch_ = epoch_size() / recipe_.training.batch / recipe_.optimizer.accumulate;
  if (!recipe_.data.drop_last && epoch_size() % recipe_.training.batch != 0) ++iterations_per_epoch_;
  if (iterations_per_epoch_ == 0) {
    throw usage_error(fmt::format("the training set's {} pictures do not fill one step of {} "
                                  "(training.batch x optimizer.accumulate); make it smaller",
                                  train_.size(), pictures));
  }
  check_schedule(recipe_.schedule, recipe_.training.epochs);
}

void Trainer::introduce() {
  say(fmt::format("network    {}, {} classes\ndata       {} pictures to train, {} to validate\n"
                  "schedule   {} epochs of {} iterations, from iteration {}\n{}",
                  network_.name(), logits_width(logits_), train_.size(),
                  validation_ != nullptr ? validation_->size() : 0, recipe_.training.epochs,
                  iterations_per_epoch_, position_.iteration, stepper_->describe()));
  name_left_out("training", train_.left_out());
  if (validation_ != nullptr) name_left_out("validation", validation_->left_out());
}

void Trainer::name_left_out(const char* set, const LeftOut& left_out) {
  if (left_out.count == 0) return;
  std::string text = fmt::format("{} entries of the {} set cannot be used and are left out:",
                                 left_out.count, set);
  for (const std::string& problem : left_out.problems) text += "\n  " + problem;
  say(text);
}

/// A state that is not finite must replace no checkpoint.
void Trainer::check_state() const {
  const std::string problem = stepper_->describe_non_finite();
  if (problem.empty()) return;
  throw failure(fmt::format("behind iteration {} the training's state is not finite: {}; the last "
                            "checkpoint is good and stays: lower optimizer.learning_rate or set "
                            "optimizer.clip_norm", position_.iteration, problem));
}

void Trainer::save_checkpoint() const {
  check_state();
  Checkpoint checkpoint;
  checkpoint.tensors = stepper_->tensors();
  write_identity(identity_, checkpoint);
  checkpoint.iteration = position_.iteration;
  checkpoint.epoch = position_.epoch;
  checkpoint.epoch_iteration = position_.in_epoch;
  checkpoint.best_metric = best_.value_or(0);
  checkpoint.best_epoch = best_epoch_;
  checkpoint.notes["stale"] = fmt::format("{}", stale_);
  checkpoint.notes["skipped"] = fmt::format("{}", skipped_);
  checkpoint.notes["skipped_in_a_row"] = fmt::format("{}", skipped_in_a_row_);
  checkpoint.notes["best_iteration"] = fmt::format("{}", best_iteration_);
  checkpoint.notes["protocols_at"] = fmt::format("{}", protocols_at_);
  level_steps_.write(checkpoint.notes);
  checkpoint.notes["bad_images"] = fmt::format("{}", bad_images_);
  window_.write(checkpoint.notes);
  folder_.write(checkpoint);
}

void Trainer::resume(const Checkpoint& checkpoint) {
  check_identity(identity_, stepper_->tensors(), checkpoint);
  stepper_->assign(checkpoint.tensors);
  position_ = {checkpoint.iteration, checkpoint.epoch, checkpoint.epoch_iteration};
  best_epoch_ = checkpoint.best_epoch;
  if (best_epoch_ >= 0) best_ = checkpoint.best_metric;
  stale_ = integer_note(checkpoint.notes, "stale");
  skipped_ = integer_note(checkpoint.notes, "skipped");
  skipped_in_a_row_ = integer_note(checkpoint.notes, "skipped_in_a_row");
  bad_images_ = integer_note(checkpoint.notes, "bad_images");
  best_iteration_ = integer_note(checkpoint.notes, "best_iteration");
  protocols_at_ = integer_note(checkpoint.notes, "protocols_at");
  level_steps_.read(checkpoint.notes);
  window_ = LogWindow::read(checkpoint.notes);
}

void Trainer::save_weights() const {
  folder_.write("weights", stepper_->weights(false));
  folder_.write("head", stepper_->head(false));
  if (recipe_.optimizer.ema_decay == 0) return;
  folder_.write("weights_ema", stepper_->weights(true));
  folder_.write("head_ema", stepper_->head(true));
}

}  // namespace facet
