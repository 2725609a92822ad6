#pragma once

#include <cstdint>

#include "training/recipe.h"
#include "training/step.h"

/// What a recipe means for the graphs of a training.
namespace facet {

/// `classes` is how many a margin loss tells apart; the other losses take the network's logits.
LossOptions loss_options(const Recipe& recipe, std::int64_t classes);

/// The gradients of accumulated batches are averaged: `accumulate` batches of N are one of
/// accumulate * N. Margin losses clip the network's gradients alone, not those of the centres.
StepOptions step_options(const Recipe& recipe, std::int64_t classes);

/// The network's input for pictures. Throws Error(usage) unless it has one input f32 [N, 3, H, W].
struct PictureInput {
  std::string name;
  std::int64_t height = 0;
  std::int64_t width = 0;
};
PictureInput picture_input(const Graph& network);

/// The network in inference form with one output, `logits` [N, C]: for margin losses the cosines to
/// the centres `head.weight`. It has another input `labels` i64 [N], which changes nothing.
Graph logits_network(const Graph& network, const LossOptions& loss);

/// What its logits are multiplied by to be those of a softmax.
double logits_scale(const LossOptions& loss);
/// How many classes `logits_network` tells apart.
std::int64_t logits_width(const Graph& logits_network);

}  // namespace facet
