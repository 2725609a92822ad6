#include "training/step_setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "ir/dsl.h"
#include "ir/error.h"
#include "passes/pass.h"

namespace facet {
namespace {

LossOptions::Kind kind_of(LossRecipe::Kind kind) {
  switch (kind) {
    case LossRecipe::Kind::cross_entropy:
      return LossOptions::Kind::cross_entropy;
    case LossRecipe::Kind::arcface:
    case LossRecipe::Kind::cosface:
      return LossOptions::Kind::margin;
    case LossRecipe::Kind::dcr_trunk:
      return LossOptions::Kind::dcr_trunk;
    case LossRecipe::Kind::dcr_coupled:
      return LossOptions::Kind::dcr_coupled;
  }
  throw failure("unknown kind of loss");
}

MarginOptions margin_options(const LossRecipe& loss) {
  MarginOptions margin;
  margin.kind = loss.kind == LossRecipe::Kind::cosface ? MarginOptions::Kind::cosface
                                                       : MarginOptions::Kind::arcface;
  switch (loss.variant) {
    case LossRecipe::Variant::straight_through:
      margin.variant = MarginOptions::Variant::straight_through;
      break;
    case LossRecipe::Variant::threshold:
      margin.variant = MarginOptions::Variant::threshold;
      break;
    case LossRecipe::Variant::autograd:
      margin.variant = MarginOptions::Variant::autograd;
      break;
  }
  margin.scale = loss.scale;
  margin.margin = loss.margin;
  margin.filter_threshold = loss.filter_threshold;
  return margin;
}

OptimizerOptions::Kind kind_of(OptimizerRecipe::Kind kind) {
  switch (kind) {
    case OptimizerRecipe::Kind::sgd:
      return OptimizerOptions::Kind::sgd;
    case OptimizerRecipe::Kind::adam:
      return OptimizerOptions::Kind::adam;
    case OptimizerRecipe::Kind::adamw:
      return OptimizerOptions::Kind::adamw;
    case OptimizerRecipe::Kind::lars:
      return OptimizerOptions::Kind::lars;
  }
  throw failure("unknown kind of optimizer");
}

OptimizerOptions optimizer_options(const OptimizerRecipe& recipe) {
  OptimizerOptions options;
  options.kind = kind_of(recipe.kind);
  options.momentum = recipe.momentum;
  options.nesterov = recipe.nesterov;
  options.beta1 = recipe.beta1;
  options.beta2 = recipe.beta2;
  options.epsilon = recipe.epsilon;
  options.trust_coefficient = recipe.trust_coefficient;
  options.weight_decay = recipe.weight_decay;
  options.decay_norm_and_bias = recipe.decay_norm_and_bias;
  options.clip_norm = recipe.clip_norm;
  options.ema_decay = recipe.ema_decay;
  options.accumulate = static_cast<int>(recipe.accumulate);
  options.average_accumulated = true;
  return options;
}

/// Shapes are static: there is room for a batch of different classes. 0: all centres take part.
std::int64_t sample_of(const Recipe& recipe, std::int64_t classes) {
  const double rate = recipe.partial_fc.sample_rate;
  if (rate >= 1) return 0;
  const std::int64_t pictures = recipe.training.batch * recipe.optimizer.accumulate;
  const auto wanted = static_cast<std::int64_t>(rate * static_cast<double>(classes));
  return std::min(classes, std::max(wanted, pictures));
}

}  // namespace

LossOptions loss_options(const Recipe& recipe, std::int64_t classes) {
  LossOptions options;
  options.kind = kind_of(recipe.loss.kind);
  options.label_smoothing = recipe.loss.label_smoothing;
  options.margin = margin_options(recipe.loss);
  options.classes = classes;
  options.dcr.center_weight = recipe.loss.center_weight;
  options.dcr.distance_weight = recipe.loss.distance_weight;
  options.dcr.center_update = recipe.loss.center_update;
  options.mixed_labels = recipe.augmentation.cut_mix > 0;
  return options;
}

StepOptions step_options(const Recipe& recipe, std::int64_t classes) {
  StepOptions options;
  options.loss = loss_options(recipe, classes);
  options.optimizer = optimizer_options(recipe.optimizer);
  options.loss.sampled = sample_of(recipe, classes);
  options.dense_centers = recipe.partial_fc.version == PartialFcRecipe::Version::v2;
  if (options.loss.kind == LossOptions::Kind::margin) options.optimizer.clip_exempt = {"head."};
  options.mode.dropout_seed = recipe.training.seed;
  options.mode.update_statistics = !recipe.model.fixed_bn;
  options.frozen = recipe.model.frozen;
  options.batch = recipe.training.batch * rows_per_picture(recipe);
  options.scale_loss = recipe.training.precision == Precision::f16;
  return options;
}

PartialFc::Options partial_fc_options(const Recipe& recipe, std::int64_t classes) {
  PartialFc::Options options;
  options.classes = classes;
  options.sample = sample_of(recipe, classes);
  options.seed = recipe.training.seed;
  if (recipe.partial_fc.version == PartialFcRecipe::Version::v2) {
    options.dense = {static_cast<float>(recipe.optimizer.momentum),
                     static_cast<float>(recipe.optimizer.weight_decay), recipe.optimizer.nesterov};
  }
  return options;
}

std::int64_t rows_per_picture(const Recipe& recipe) {
  if (recipe.loss.kind == LossRecipe::Kind::dcr_coupled) return 1;
  return static_cast<std::int64_t>(recipe.scales.count());
}

std::vector<PictureInput> picture_inputs(const Graph& network) {
  std::vector<PictureInput> found;
  for (const Node* input : network.inputs()) {
    const Type& type = input->result_types()[0];
    if (type.dtype != DType::f32 || type.shape.size() != 4 || !(type.shape[1] == Dim(3)) ||
        !type.shape[2].is_static() || !type.shape[3].is_static()) {
      return {};
    }
    found.push_back(
        {input->attributes().text("name"), type.shape[2].factor, type.shape[3].factor});
    if (found.back().height != found[0].height || found.back().width != found[0].width) return {};
  }
  return found;
}

PictureInput picture_input(const Graph& network) {
  const std::vector<PictureInput> inputs = picture_inputs(network);
  if (inputs.size() == 1) return inputs[0];
  throw usage_error(fmt::format("network '{}' cannot be trained on pictures: it needs exactly one "
                                "input, f32 [N, 3, height, width]", network.name()));
}

std::vector<PictureInput> picture_inputs(const Graph& network, const Recipe& recipe) {
  const std::size_t scales = recipe.scales.count();
  if (recipe.loss.kind != LossRecipe::Kind::dcr_coupled || scales == 1) {
    return {picture_input(network)};
  }
  const std::vector<PictureInput> inputs = picture_inputs(network);
  if (inputs.size() == scales) return inputs;
  throw usage_error(fmt::format(
      "loss.kind \"dcr_coupled\" over {0} scales (the full resolution and those of scales.sizes) "
      "needs a network with an input f32 [N, 3, height, width] for each, '{1}' has {2}; set branch = "
      "\"all\" and num_scales = {0} in [model.settings]", scales, network.name(), inputs.size()));
}

void drop_other_scales(Graph& graph) {
  PassContext context;
  eliminate_dead_code(graph, context);
  for (Node* input : graph.inputs()) {
    if (input->all_uses().empty() && input->attributes().text("name") != "labels") graph.erase(input);
  }
}

Graph logits_network(const Graph& network, const LossOptions& loss) {
  LossOptions options;
  options.logits = loss.logits;
  if (loss.kind == LossOptions::Kind::margin) {
    options.kind = LossOptions::Kind::margin;
    options.margin = loss.margin;
    options.classes = loss.classes;
    options.embeddings = loss.embeddings;
  } else if (loss.kind == LossOptions::Kind::dcr_coupled) {
    if (options.logits.empty()) options.logits = outputs_of_scales(network, "logits");
    if (!options.logits.empty()) options.logits.resize(1);  // scale 0
  }
  Graph graph = with_loss(network.clone(), options);
  graph.select_outputs({"logits"});
  drop_other_scales(graph);
  return graph;
}

double logits_scale(const LossOptions& loss) {
  return loss.kind == LossOptions::Kind::margin ? loss.margin.scale : 1;
}

std::int64_t logits_width(const Graph& logits_network) {
  return logits_network.outputs().at(0).value.shape().at(1).factor;
}

}  // namespace facet
