#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "training/partial_fc.h"
#include "training/recipe.h"
#include "training/step.h"

/// What a recipe means for the graphs of a training.
namespace facet {

/// `classes` is how many a margin loss tells apart; the other losses take the network's logits.
LossOptions loss_options(const Recipe& recipe, std::int64_t classes);

/// The gradients of accumulated batches are averaged: `accumulate` batches of N are one of
/// accumulate * N. Margin losses clip the network's gradients alone, not those of the centres.
StepOptions step_options(const Recipe& recipe, std::int64_t classes);

/// How many rows a picture is in a batch of the training step: one for each scale, unless the network
/// takes every scale by an input of its own (dcr_coupled).
std::int64_t rows_per_picture(const Recipe& recipe);

/// How the centres are sampled where step_options(...).loss.sampled is above 0. Learning rates,
/// momentum and weight decay count as the f32 that kernels take them for.
PartialFc::Options partial_fc_options(const Recipe& recipe, std::int64_t classes);

/// The network's input for pictures. Throws Error(usage) unless it has one input f32 [N, 3, H, W].
struct PictureInput {
  std::string name;
  std::int64_t height = 0;
  std::int64_t width = 0;
};
PictureInput picture_input(const Graph& network);
/// The same of a network that takes pictures in several scales, the full resolution first: all are of
/// one type.
std::vector<PictureInput> picture_inputs(const Graph& network);
/// `picture_inputs` of the network that a recipe trains. Throws Error(usage) unless there is one, or
/// one for each of the scales of a coupled loss.
std::vector<PictureInput> picture_inputs(const Graph& network, const Recipe& recipe);

/// Takes inputs away that the outputs do not need, with what was made of them; `labels` stays.
void drop_other_scales(Graph& graph);

/// The network in inference form with one output, `logits` [N, C]: for margin losses the cosines to
/// the centres `head.weight`, for several scales those of the full resolution. It has another input
/// `labels` i64 [N], which changes nothing.
Graph logits_network(const Graph& network, const LossOptions& loss);

/// What its logits are multiplied by to be those of a softmax.
double logits_scale(const LossOptions& loss);
/// How many classes `logits_network` tells apart.
std::int64_t logits_width(const Graph& logits_network);

}  // namespace facet
