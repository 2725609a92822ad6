#include "training/stepper.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <set>
#include <utility>

#include "ir/error.h"
#include "training/initial_weights.h"
#include "training/metrics.h"
#include "training/recipe_data.h"

namespace facet {
namespace {

constexpr std::string_view kAverage = "ema.";
constexpr std::string_view kSum = "accumulated.";

/// How often the network applies the batch norm of every `num_batches_tracked`.
std::map<std::string, std::int64_t> tracked_batches(const Graph& network) {
  std::map<std::string, std::int64_t> tracked;
  constexpr std::string_view kMean = "running_mean";
  for (const auto& node : network.nodes()) {
    if (!node->is("batch_norm") || !node->operand(3).node->is("parameter")) continue;
    std::string key = node->operand(3).node->attributes().text("key");
    if (!key.ends_with(kMean)) continue;
    key.replace(key.size() - kMean.size(), kMean.size(), "num_batches_tracked");
    if (network.find_parameter(key) != nullptr) ++tracked[key];
  }
  return tracked;
}

/// The parameters that the step changes are state here too, though no run of this graph changes them.
void share_state(Graph& accumulating, const Graph& step) {
  std::set<std::string> own;
  for (const Output& update : accumulating.updates()) own.insert(update.name);
  std::set<std::string> read;
  for (const auto& node : accumulating.nodes()) {
    if (node->is("parameter")) read.insert(node->attributes().text("key"));
  }
  for (const Output& update : step.updates()) {
    if (own.contains(update.name) || !read.contains(update.name)) continue;
    accumulating.add_update(update.name, accumulating.read_parameter(update.name)->result());
  }
}

bool adds_to_network(const std::string& key) {
  return !key.starts_with("optimizer.") && !key.starts_with(kAverage) && !key.starts_with(kSum) &&
         !key.starts_with("training.");
}

/// The rows of all, one after the other.
HostTensor stacked(const std::vector<HostTensor>& parts) {
  std::vector<std::int64_t> shape = parts.at(0).shape();
  shape[0] *= static_cast<std::int64_t>(parts.size());
  HostTensor all(parts[0].dtype(), shape);
  std::byte* to = all.mutable_data();
  for (const HostTensor& part : parts) to = std::copy_n(part.data(), part.byte_count(), to);
  return all;
}

}  // namespace

Stepper::Stepper(const Graph& network, const Recipe& recipe, std::int64_t classes,
                 std::int64_t rest, const CompileOptions& base)
    : scales_(static_cast<std::int64_t>(recipe.scales.count())),
      batch_(recipe.training.batch),
      rest_(rest),
      accumulate_(recipe.optimizer.accumulate),
      mixed_(recipe.augmentation.cut_mix > 0),
      explain_(recipe.training.on_nan == TrainingRecipe::OnNan::stop),
      precision_(recipe.training.precision),
      base_(base),
      tracked_(tracked_batches(network)) {
  const std::vector<PictureInput> pictures = picture_inputs(network, recipe);
  for (const PictureInput& input : pictures) picture_names_.push_back(input.name);
  preprocess_ = preprocess_of(recipe.data, pictures.at(0).height, pictures[0].width);
  for (const Parameter& parameter : network.parameters()) network_keys_.push_back(parameter.key);
  if (recipe.model.fixed_bn) tracked_.clear();
  const StepOptions options = step_options(recipe, classes);
  if (options.loss.sampled > 0) {
    partial_ = std::make_unique<PartialFc>(partial_fc_options(recipe, classes));
  }
  compile_step(network, options, recipe, rest);
  for (const auto& [key, times] : tracked_) constant_[key] = constant_.at(key).clone();
}

void Stepper::compile_step(const Graph& network, StepOptions options, const Recipe& recipe,
                           std::int64_t rest) {
  const Graph step = make_training_step(network.clone(), options);
  const TensorMap weights = initial_weights(network, step, recipe);
  CompileOptions compile_options = base_;
  compile_options.precision = precision_;
  // A step that scales its loss sees to itself.
  compile_options.guard = options.scale_loss ? "" : "loss";
  compile_options.recompute = recipe.training.recompute;
  executable_ = compile(step, weights, compile_options);
  state_ = executable_->take_state();
  context_ = executable_->make_context(state_);
  for (const auto& [key, tensor] : weights) {
    if (!state_->contains(key)) constant_.emplace(key, tensor);
  }
  if (rest > 0) {
    StepOptions smaller = options;
    smaller.batch = rest * rows_per_picture(recipe);
    const Graph graph = make_training_step(network.clone(), smaller);
    rest_context_ = compile(graph, weights, compile_options)->make_context(state_);
  }
  if (accumulate_ == 1) return;
  StepOptions adding = options;
  adding.accumulate_only = true;
  Graph graph = make_training_step(network.clone(), adding);
  compile_options.guard = "loss";
  for (const Output& update : graph.updates()) {
    (update.name.starts_with(kSum) ? sums_ : taken_back_).push_back(update.name);
  }
  share_state(graph, step);
  accumulating_ = compile(graph, weights, compile_options)->make_context(state_);
}

/// f32 [n, 3, height, width], whatever the loader made.
HostTensor Stepper::pixels_of(const Batch& batch) {
  if (batch.pixels.dtype() != DType::u8) return batch.pixels;
  const std::vector<std::int64_t>& from = batch.pixels.shape();
  const std::vector<std::int64_t> shape = {from[0], from[3], from[1], from[2]};
  if (pixels_.shape() != shape) pixels_ = HostTensor(DType::f32, shape);
  normalize_into(batch.pixels, preprocess_, pixels_);
  return pixels_;
}

TensorMap Stepper::inputs_of(const Batch& batch) {
  const std::int64_t count = batch.labels.element_count();
  const auto scales = static_cast<std::int64_t>(batch.scales.size()) + 1;
  if ((count != batch_ && (rest_ == 0 || count != rest_)) || scales != scales_) {
    throw usage_error(fmt::format("a batch of {} pictures in {} scales for a training step of {} in {}",
                                  count, scales, batch_, scales_));
  }
  TensorMap inputs = {{picture_names_[0], pixels_of(batch)}, {"labels", batch.labels}};
  if (picture_names_.size() > 1) {
    for (std::size_t k = 1; k < picture_names_.size(); ++k) {
      inputs.emplace(picture_names_[k], batch.scales[k - 1]);
    }
  } else if (scales_ > 1) {
    std::vector<HostTensor> pictures = {batch.pixels};
    pictures.insert(pictures.end(), batch.scales.begin(), batch.scales.end());
    inputs[picture_names_[0]] = stacked(pictures);
    inputs["labels"] = stacked(std::vector(pictures.size(), batch.labels));
  }
  if (partial_) partial_->complete(inputs);
  if (!mixed_) return inputs;
  inputs.emplace("mixed_labels", batch.mixed_labels);
  inputs.emplace("own_share", HostTensor::from_floats({1}, {static_cast<float>(batch.own_share)}));
  return inputs;
}

Context& Stepper::context_for(const Batch& batch) const {
  const bool is_rest = rest_ > 0 && batch.labels.element_count() == rest_;
  return is_rest ? *rest_context_ : *context_;
}

/// Of a run that was begun.
bool Stepper::finish(Context& context, const TensorMap& inputs, StepResult& result) {
  const TensorMap outputs = context.finish();
  const double loss = outputs.at("loss").at(0);
  const auto applied = outputs.find("applied");
  result.overflowed = std::isfinite(loss) && applied != outputs.end() && applied->second.at(0) == 0;
  if (!std::isfinite(loss) || result.overflowed) {
    result.applied = false;
    result.loss = loss;
    if (explain_ && !result.overflowed) result.problem = context.diagnose(inputs);
    return false;
  }
  result.loss += loss;
  result.correct += top_k_correct(outputs.at("logits"), inputs.at("labels"), 1);
  result.pictures += inputs.at("labels").element_count();
  return true;
}

bool Stepper::prepares() const {
  return base_.device == Device::cuda && accumulate_ == 1 && partial_ == nullptr;
}

void Stepper::prepare(std::span<const Batch> batches, double learning_rate) {
  prepared_.reset();
  if (accumulate_ > 1 || partial_ || batches.size() != 1) {
    throw usage_error("only a step of one batch and all centres can be prepared");
  }
  std::swap(pixels_, other_pixels_);  // the step that runs may still read its own
  TensorMap inputs = inputs_of(batches[0]);
  inputs.emplace("lr", HostTensor::from_floats({1}, {static_cast<float>(learning_rate)}));
  context_for(batches[0]).stage(inputs);
  prepared_ = std::move(inputs);
}

StepResult Stepper::step(std::span<const Batch> batches, double learning_rate,
                         const std::function<void()>& meanwhile) {
  if (static_cast<std::int64_t>(batches.size()) != accumulate_) {
    throw usage_error(fmt::format("{} batches for a training step of {}", batches.size(), accumulate_));
  }
  TensorMap before;
  for (const std::string& key : taken_back_) before[key] = state_->tensor(key).clone();
  StepResult result;
  const auto rate = static_cast<float>(learning_rate);
  if (partial_) {
    std::vector<HostTensor> labels;
    for (const Batch& batch : batches) labels.push_back(batch.labels);
    partial_->begin(labels);
  }
  std::exception_ptr problem;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const bool last = i + 1 == batches.size();
    Context& context = last ? context_for(batches[i]) : *accumulating_;
    TensorMap inputs;
    if (prepared_) {
      inputs = *std::exchange(prepared_, std::nullopt);
      context.begin();
    } else {
      inputs = inputs_of(batches[i]);
      if (last) inputs.emplace("lr", HostTensor::from_floats({1}, {rate}));
      context.begin(inputs);
    }
    if (last && meanwhile) {
      try {
        meanwhile();
      } catch (...) {
        problem = std::current_exception();
      }
    }
    if (finish(context, inputs, result)) continue;
    take_back(before);
    if (problem) std::rethrow_exception(problem);
    return result;
  }
  if (partial_) partial_->applied(rate, *state_);
  result.loss /= static_cast<double>(accumulate_);
  for (const auto& [key, times] : tracked_) {
    *constant_.at(key).as_mutable<std::int64_t>() += times * accumulate_;
  }
  if (problem) std::rethrow_exception(problem);
  return result;
}

/// What earlier batches of the step left: a step that is not applied changes nothing.
void Stepper::take_back(const TensorMap& before) {
  state_->assign(before);
  for (const std::string& key : sums_) state_->clear(key);
}

TensorMap Stepper::tensors() const {
  TensorMap all = state_->tensors();
  all.insert(constant_.begin(), constant_.end());
  if (partial_) all.merge(partial_->tensors());
  return all;
}

void Stepper::assign(const TensorMap& tensors) {
  TensorMap state, partial;
  for (const auto& [key, tensor] : tensors) {
    if (partial_ && PartialFc::owns(key)) {
      partial.emplace(key, tensor);
    } else if (state_->contains(key)) {
      state.emplace(key, tensor);
    } else {
      constant_.at(key) = tensor.clone();
    }
  }
  state_->assign(state);
  if (partial_) partial_->assign(partial);
}

TensorMap Stepper::select(bool averaged, bool of_network) const {
  const std::set<std::string> keys(network_keys_.begin(), network_keys_.end());
  const TensorMap all = tensors();
  TensorMap chosen;
  for (const auto& [key, tensor] : all) {
    if (keys.contains(key) != of_network || (!of_network && !adds_to_network(key))) continue;
    const auto average = all.find(std::string(kAverage) + key);
    chosen.emplace(key, averaged && average != all.end() ? average->second : tensor);
  }
  return chosen;
}

TensorMap Stepper::weights(bool averaged) const { return select(averaged, true); }

TensorMap Stepper::head(bool averaged) const {
  TensorMap chosen = select(averaged, false);
  if (partial_) chosen["head.weight"] = partial_->centers(*state_);
  return chosen;
}

std::string Stepper::describe_non_finite() const {
  for (const std::string& key : state_->keys()) {
    const HostTensor tensor = state_->tensor(key);
    if (tensor.dtype() != DType::f32) continue;
    const auto* values = tensor.as<float>();
    const auto bad = std::count_if(values, values + tensor.element_count(),
                                   [](float value) { return !std::isfinite(value); });
    if (bad > 0) return fmt::format("{}: {} of {} values", key, bad, tensor.element_count());
  }
  return {};
}

std::int64_t Stepper::state_bytes() const { return state_->byte_count(); }

std::string Stepper::describe() const {
  const ProgramInfo& info = program();
  std::string text = "f32 throughout";
  if (precision_ == Precision::bf16 || precision_ == Precision::f16) {
    text = fmt::format(
        "{}: convolutions, matrix products and activations; f32: their accumulation, "
        "master weights, statistics, loss, gradients of parameters, updates{}",
        to_string(precision_), precision_ == Precision::f16 ? "; the loss is scaled" : "");
  } else if (precision_ == Precision::tf32) {
    text = "f32, of whose factors 10 bits of mantissa count";
  }
  const RecomputeReport& again = info.recomputed;
  const std::string recomputed =
      again.values == 0 ? ""
                        : fmt::format("\nrecompute  {} steps run again, {:.1f} MB kept less, {:+.1f} % flops",
                                      again.values, static_cast<double>(again.kept_less) * 1e-6,
                                      100 * again.flops / std::max(again.all_flops, 1.0));
  if (partial_) text += "\n" + partial_->describe();
  return fmt::format("precision  {}\nstep       {} kernels, batch {}{}, compiled in {:.1f} s\n"
                     "memory     arena {:.1f} MB (lower bound {:.1f}), state {:.1f} MB{}",
                     text, info.steps.size(), batch_,
                     accumulate_ > 1 ? fmt::format(" x {} accumulated", accumulate_) : "",
                     info.compile_seconds + info.prepare_seconds,
                     static_cast<double>(info.arena_bytes) * 1e-6,
                     static_cast<double>(info.lower_bound_bytes) * 1e-6,
                     static_cast<double>(state_bytes()) * 1e-6, recomputed);
}

}  // namespace facet
