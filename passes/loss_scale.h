#pragma once

#include "ir/graph.h"

/// Training in f16: the smallest gradients would be zero there, so the loss is multiplied by a
/// scale that is state of the training, as large as the gradients allow.
namespace facet {

/// f32 [1], the scale; it starts at 65536. A graph that updates state and has it trains in f16.
inline constexpr const char* kLossScaleKey = "training.loss_scale";
/// f32 [1], the steps that were applied since the scale last changed.
inline constexpr const char* kGoodStepsKey = "training.good_steps";
/// So many of them double the scale, up to `kMostLossScale`.
inline constexpr int kGoodSteps = 2000;
inline constexpr double kMostLossScale = 16777216;

/// Adds the scale to a graph and returns its value: what the gradient of the loss begins with.
/// Throws Error(usage) for a graph that has it already.
Value add_loss_scale(Graph& graph);

/// Of a training step, behind its optimizer: where `nothing` f32 [1], otherwise 0, is not a number,
/// all state but the sums of accumulated gradients stays as it is, and the scale is halved. Update
/// ops see to theirs by their learning rate. Adds the output `applied` f32 [1]: 1, or 0 for such a
/// step.
void append_loss_scale(Graph& graph, Value nothing);

}  // namespace facet
