#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/host_tensor.h"
#include "passes/append_optimizer.h"
#include "passes/pass.h"
#include "passes/training_mode.h"
#include "training/losses.h"

namespace facet {

/// What a network is trained for.
struct LossOptions {
  enum class Kind {
    cross_entropy,
    margin,      ///< cosines to class centres `head.weight` with a margin, then cross entropy
    dcr_trunk,   ///< cross entropy and centre loss
    dcr_coupled  ///< the same for several scales, and their distance
  };
  Kind kind = Kind::cross_entropy;
  double label_smoothing = 0;
  MarginOptions margin = {};
  std::int64_t classes = 0;  ///< margin: how many; the others' are the width of the logits
  /// margin: above 0 the loss knows only so many centres, those of the rows in another input
  /// `sampled` i64 [sampled], and labels are places in it (training/partial_fc.h).
  std::int64_t sampled = 0;
  DcrLossOptions dcr = {};  ///< its label_smoothing is not read: the one above counts
  /// The network's outputs, one of each (of each scale for dcr_coupled). Empty: the only one that
  /// ends in "logits"; its namesake or the only one that ends in "embedding" or "embeddings". For
  /// dcr_coupled those that end in "logits.0", "logits.1" ..., if there are such.
  std::vector<std::string> logits = {};
  std::vector<std::string> embeddings = {};
  /// Two more inputs, `mixed_labels` i64 [N] and `own_share` f32 [1]: the loss is own_share *
  /// L(labels)
  /// + (1 - own_share) * L(mixed_labels). cross_entropy and margin only.
  bool mixed_labels = false;
};

/// The network with an input `labels` i64 [N] and the outputs
///
///   loss      f32 [1]
///   logits    [N, C]: of scale 0 for dcr_coupled; the cosines for margin, to the sampled centres
///             if they are sampled
///
/// in place of its own. The batch may be symbolic. What the loss keeps (centres) is updated.
/// Throws Error(usage) that lists the outputs if those that the loss needs are not there.
Graph with_loss(Graph network, const LossOptions& options);

/// The names of the network's outputs that end in "<ending>.0", "<ending>.1" and so on, in this
/// order.
std::vector<std::string> outputs_of_scales(const Graph& network, const std::string& ending);

struct StepOptions {
  LossOptions loss = {};
  OptimizerOptions optimizer = {};
  TrainingModeOptions mode = {};
  std::int64_t batch = 64;  ///< extent of the network's symbol, if it has one
  /// Keys that begin with one of these are not trained. Statistics of their batch norms still move.
  std::vector<std::string> frozen = {};
  /// Sampled centres: SGD's momentum and weight decay reach those that are not sampled, too,
  /// through another input `owed` f32 [4 * sampled] (Partial FC v2); false: they stay as they are
  /// (v1).
  bool dense_centers = false;
  /// Fuses ahead of differentiation (passes/fuse_training.h); false is for comparisons.
  bool fuse = true;
  /// The gradients are added to `accumulated.<key>` and nothing is stepped (see
  /// append_accumulation).
  bool accumulate_only = false;
  /// For f16: gradients are those of the loss times a scale (passes/loss_scale.h).
  bool scale_loss = false;
};

/// One training step of a network in inference form, as a graph of static shapes: forward pass in
/// training mode, loss, gradients, updates of parameters and state. Inputs: the network's, those of
/// `with_loss`, and `lr` f32 [1] (not with accumulate_only). Outputs: those of `with_loss`, and
/// `gradient_norm` f32 [1] if the optimizer clips or measures it, and `applied` f32 [1] with
/// scale_loss (not with accumulate_only): 0 where something was not finite and all state stayed as
/// it was, so that no run has to be guarded.
/// Throws as `with_loss`, `differentiate` and `append_optimizer`, and Error(usage) for a `frozen`
/// that no key begins with.
Graph make_training_step(Graph network, const StepOptions& options);
/// The same, with what was fused ahead of differentiation and what was not in context.remarks.
Graph make_training_step(Graph network, const StepOptions& options, PassContext& context);

/// Averaged parameters `ema.<key>` that `tensors` lacks start as copies of the parameters. `graph`
/// is a training step.
void start_averages(const Graph& graph, TensorMap& tensors);

}  // namespace facet
