// What a training measures of itself: top-1 on the validation set, and protocols on other faces.

#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <string>
#include <string_view>

#include "ir/error.h"
#include "training/recipe_data.h"
#include "training/trainer.h"

namespace facet {

std::string_view name_of(EvaluationRecipe::Metric metric) {
  if (metric == EvaluationRecipe::Metric::verification) return "verification";
  return metric == EvaluationRecipe::Metric::rank1 ? "rank1" : "top1";
}

void Trainer::check_metric() const {
  const EvaluationRecipe& evaluation = recipe_.evaluation;
  const bool by_top1 = evaluation.metric == EvaluationRecipe::Metric::top1;
  if (by_top1 && validation_ == nullptr && recipe_.training.patience > 0) {
    throw usage_error(
        "training.patience ends a training by its validations, but there is no "
        "validation set; give data.validation, set patience to 0, or judge by another "
        "evaluation.metric");
  }
  if (!by_top1 && options_.protocols == nullptr) {
    throw usage_error(
        fmt::format("evaluation.metric is \"{}\", but the trainer was given no sets for it",
                    name_of(evaluation.metric)));
  }
}

/// False if it was interrupted.
bool Trainer::validate(Evaluation& result) {
  const bool averaged = recipe_.optimizer.ema_decay > 0;
  TensorMap weights = stepper_->weights(averaged);
  weights.merge(stepper_->head(averaged));
  result = evaluate_network(logits_, logits_scale(loss_), weights, validation_options(),
                            *validation_, preprocess_, validation_loader(recipe_),
                            [this](std::int64_t) { return !stop_wanted(); });
  if (result.left_out > 0 && result.complete) {
    say(fmt::format(
        "{} pictures of the validation set cannot be read and were left out; the first: "
        "{}",
        result.left_out, result.problems.at(0)));
  }
  return result.complete;
}

CompileOptions Trainer::validation_options() const {
  CompileOptions options;
  options.device = options_.device;
  options.memory_limit = options_.device_memory;
  options.tune = options_.tune;
  options.precision = recipe_.training.precision;
  return options;
}

/// Within an epoch; behind its last step `end_epoch` asks for itself.
bool Trainer::protocols_due() const {
  const std::int64_t every = recipe_.evaluation.every;
  return options_.protocols != nullptr && every > 0 && position_.iteration > 0 &&
         position_.iteration % every == 0 && protocols_at_ != position_.iteration &&
         position_.in_epoch != iterations_per_epoch_;
}

/// False if it was interrupted; then it is still due.
bool Trainer::run_protocols(ProtocolResults& results) {
  EmbedderOptions options;
  options.compile = validation_options();
  options.preprocess = preprocess_;
  const LoaderOptions loading = validation_loader(recipe_);
  options.batch = loading.batch;
  options.loader_threads = loading.threads;
  options.leave_out_bad = loading.on_bad_image == OnBadImage::leave_out;
  const EvaluationRecipe& how = recipe_.evaluation;
  const TensorMap weights = stepper_->weights(recipe_.optimizer.ema_decay > 0);
  Embedder embedder(network_, weights, embedder_options(how, options));
  std::optional<Embedder> probes;
  if (has_own_probes(how)) probes.emplace(network_, weights, probe_options(how, options));
  results = facet::run_protocols(
      *options_.protocols, embedder, how, [this](std::int64_t) { return !stop_wanted(); },
      probes ? &*probes : nullptr);
  if (!results.complete) return false;
  if (!results.problems.empty()) {
    say(fmt::format("{} pictures of the protocols cannot be read and were left out; the first: {}",
                    results.problems.size(), results.problems.front().message));
  }
  protocols_at_ = position_.iteration;
  level_steps_.add(results, position_.iteration);
  last_protocols_ = results;
  return true;
}

/// The protocols between two steps of an epoch, with a row of the log. False if it was interrupted.
bool Trainer::evaluate_within_epoch() {
  check_state();
  ProtocolResults results;
  if (!run_protocols(results)) return false;
  const bool best = judge(nullptr, &results);
  const std::int64_t iteration = position_.iteration - 1;
  log_->row(iteration, rate_at(iteration), window_, nullptr, &results);
  window_ = {};
  say(fmt::format("iteration {}: {}{}", position_.iteration, describe(results),
                  best ? " (best)" : ""));
  return true;
}

/// Keeps the weights if none were better by the metric, and says so. Either may be null.
bool Trainer::judge(const Evaluation* validation, const ProtocolResults* protocols) {
  std::optional<double> value;
  switch (recipe_.evaluation.metric) {
    case EvaluationRecipe::Metric::top1:
      if (validation != nullptr) value = validation->top1;
      break;
    case EvaluationRecipe::Metric::verification:
      if (protocols != nullptr) value = protocols->verification();
      break;
    case EvaluationRecipe::Metric::rank1:
      if (protocols != nullptr) value = protocols->rank1();
      break;
  }
  if (!value) return false;
  ++stale_;
  if (best_ && !(*value > *best_)) return false;
  best_ = value;
  best_epoch_ = position_.epoch;
  best_iteration_ = position_.iteration;
  stale_ = 0;
  const bool averaged = recipe_.optimizer.ema_decay > 0;
  folder_.write("best", stepper_->weights(averaged));
  folder_.write("best_head", stepper_->head(averaged));
  return true;
}

/// Validates if it is time, writes the log's row and a checkpoint. False if it was interrupted;
/// then the epoch has still to be ended.
bool Trainer::end_epoch() {
  check_state();
  const bool last = position_.epoch + 1 == recipe_.training.epochs;
  const bool due = last || (position_.epoch + 1) % recipe_.training.validate_every == 0;
  const std::int64_t every = recipe_.evaluation.every;
  const bool protocols_now = options_.protocols != nullptr &&
                             (every == 0 ? due : last || position_.iteration % every == 0);
  Evaluation validation;
  ProtocolResults protocols;
  const bool validated = due && validation_ != nullptr;
  if (validated && !validate(validation)) return false;
  if (protocols_now && !run_protocols(protocols)) return false;
  const bool best = judge(validated ? &validation : nullptr, protocols_now ? &protocols : nullptr);
  const std::int64_t iteration = position_.iteration - 1;
  log_->row(iteration, rate_at(iteration), window_, validated ? &validation : nullptr,
            protocols_now ? &protocols : nullptr);
  std::string text = fmt::format("epoch {}/{}: loss {:.4f}, accuracy {:.2f}%", position_.epoch + 1,
                                 recipe_.training.epochs, window_.loss().value_or(NAN),
                                 window_.accuracy().value_or(NAN) * 100);
  if (validated) {
    text += fmt::format("; validation loss {:.4f}, top-1 {:.2f}%, top-5 {:.2f}%", validation.loss,
                        validation.top1 * 100, validation.top5 * 100);
    last_validation_ = validation;
  }
  if (protocols_now) text += "; " + describe(protocols);
  say(text + (best ? " (best)" : ""));
  window_ = {};
  ++position_.epoch;
  position_.in_epoch = 0;
  save_checkpoint();
  return true;
}

}  // namespace facet
