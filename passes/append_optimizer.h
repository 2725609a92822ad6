#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace facet {

/// How a step turns gradients into new parameters. Formulas: the docs of sgd_update, adam_update,
/// lars_update and ema_update.
struct OptimizerOptions {
  enum class Kind { sgd, adam, adamw, lars };
  Kind kind = Kind::sgd;
  double momentum = 0.9;             ///< sgd, lars; in [0, 1)
  bool nesterov = false;             ///< sgd
  double beta1 = 0.9;                ///< adam, adamw
  double beta2 = 0.999;              ///< adam, adamw
  double epsilon = 1e-8;             ///< adam, adamw, lars
  double trust_coefficient = 0.001;  ///< lars
  double weight_decay = 0;
  /// false: no weight decay for scales and shifts of norms, biases and PReLU slopes; lars steps
  /// these as sgd does.
  bool decay_norm_and_bias = true;
  /// Above 0: gradients are multiplied by min(1, clip_norm / (norm + 1e-6)), `norm` the length of
  /// all of them together. Parameters whose key begins with one of `clip_exempt` neither count nor
  /// are changed.
  double clip_norm = 0;
  std::vector<std::string> clip_exempt = {};
  /// Computes the norm of the gradients even if they are not clipped.
  bool measure_norm = false;
  /// Above 0: "ema.<key>" follows every parameter: ema * decay + (new parameter) * (1 - decay).
  double ema_decay = 0;
  /// Above 1: a step uses the sum of so many gradients: of accumulate - 1 runs of a graph that
  /// `append_accumulation` made and of its own.
  int accumulate = 1;
  /// The mean of these gradients instead of their sum.
  bool average_accumulated = false;
  /// Tables of which `gradients` has those of the sampled rows [K, D] alone (passes/sampled_rows.h):
  /// only these rows and their moments are stepped, what they are owed is paid first.
  std::vector<std::string> sampled = {};
  /// f32 [1], the loss say: when it is not finite the learning rate is not either, and update ops then
  /// leave the state alone.
  Value guard = {};
  /// f32 [1], what the loss was multiplied by for its gradients: they are divided by it ahead of
  /// everything, and one that is not finite counts as a guard that is not (passes/loss_scale.h).
  Value loss_scale = {};
};

struct AppendedOptimizer {
  /// f32 [1], ahead of clipping; null unless clip_norm or measure_norm asks for it.
  Value gradient_norm;
  /// f32 [1], 0, or not a number where the step changes nothing; null without guard and loss_scale.
  Value nothing;
};

/// Appends the optimizer's step to a graph with gradients.
///
/// Adds the input `lr` f32 [1], state that is not trainable and starts at zero
///
///   optimizer.<key>.velocity    sgd, lars
///   optimizer.<key>.m, .v       adam, adamw
///   optimizer.step              adam, adamw: f32 [1], the number of steps taken
///   accumulated.<key>           accumulate > 1
///   ema.<key>                   ema_decay > 0; whoever makes the state copies the parameter here
///
/// and for every trainable parameter in `gradients` (key -> its gradient, f32) its new value and
/// those of its state, as updates of the graph. A parameter that is missing there, has a null
/// gradient or is not trainable stays as it is.
///
/// Each update stands as early as it may: directly behind the last of its gradient and the nodes
/// that read the old parameter, so that the gradient's memory is free again while the backward pass
/// goes on. With clipping no update can begin before the last gradient is there.
///
/// Throws Error(usage) for options out of range, a key that the graph has no parameter of, state
/// that it has already, an average of a sampled table, or one that is owed steps by another optimizer
/// than SGD.
AppendedOptimizer append_optimizer(Graph& graph, const std::map<std::string, Value>& gradients,
                                   const OptimizerOptions& options);

/// Instead of a step: adds every gradient to the state "accumulated.<key>". The graph of the step
/// that follows is made by `append_optimizer` with `accumulate` > 1, uses that sum and sets it back
/// to zero. Of sampled tables the sum has the rows' shape: all runs of a step take the same rows.
/// Parameters and `loss_scale` count as above; throws as above.
void append_accumulation(Graph& graph, const std::map<std::string, Value>& gradients,
                         const std::vector<std::string>& sampled = {}, Value loss_scale = {});

}  // namespace facet
