#pragma once

#include <cstdint>
#include <vector>

#include "ir/dsl.h"

/// Losses as graph builders. N rows, C classes, D the width of an embedding; labels are i64 [N],
/// and a row whose label is not in [0, C) has no target and costs nothing. A loss is f32 [1]. Plain
/// softmax cross entropy is `cross_entropy` of ir/dsl.h. Builders work in whatever network their
/// tensors belong to.
namespace facet {

/// How a margin makes the logit of the target harder to raise. c: cosine of embedding and centre.
struct MarginOptions {
  enum class Kind {
    arcface,  ///< cos(acos(c) + margin) (Deng et al., "ArcFace", 2019)
    cosface   ///< c - margin (Wang et al., "CosFace", 2018)
  };
  /// What arcface does beyond the formula, and how its gradient passes the margin; cosface is the
  /// same in all three.
  enum class Variant {
    straight_through,  ///< the target's gradient is that of c: published code since December 2022
    /// The true derivative; c - margin * sin(margin) where acos(c) + margin would pass pi.
    threshold,
    autograd  ///< the true derivative of the formula everywhere
  };
  Kind kind = Kind::arcface;
  Variant variant = Variant::straight_through;
  double scale = 64;
  double margin = 0.5;       ///< radians, or cosine for cosface
  bool easy_margin = false;  ///< threshold only: where c <= 0 there is no margin
  /// Above 0: cosines of other classes above it count as 0 and get no gradient.
  double filter_threshold = 0;
};

/// The parameter `weight` [classes, width] in `scope`, from a normal distribution of deviation
/// 0.01.
Tensor class_centers(Scope scope, std::int64_t classes, std::int64_t width);

/// embeddings [N, D], centers [C, D] -> [N, C], in [-1, 1]. Rows are normalised here. The products
/// stay f32 in bf16 training, as in the published code: the scale of 64 makes much of small errors.
Tensor cosine_similarities(Tensor embeddings, Tensor centers);

/// Logits for cross_entropy: scale * cosines [N, C] with the target's moved by the margin.
/// The true derivatives hold 1 - c^2 above 1e-12, so that they stay finite at |c| = 1.
/// Throws Error(usage) for options out of range.
Tensor margin_logits(Tensor cosines, Tensor labels, const MarginOptions& options);

/// For each class j with n_j rows: c_j + factor / n_j * sum of (x_i - c_j) over its rows; others
/// stay. x [N, D], centers [C, D]. No gradient passes.
Tensor moved_centers(Tensor centers, Tensor x, Tensor labels, double factor);

/// mean over all elements of (x - c[label])^2. x [N, D], centers [C, D]; the centres get no
/// gradient.
Tensor center_loss(Tensor x, Tensor centers, Tensor labels);

/// Weights of the losses of Deep Coupled ResNet (zoo/dcr.h).
struct DcrLossOptions {
  double label_smoothing = 0;
  double center_weight = 0.008;    ///< of the distance to the class's centre
  double distance_weight = 0.008;  ///< of the distance between scales; coupled loss only
  double center_update = 0.6;      ///< factor of `moved_centers`
};

/// cross_entropy(logits, labels) + center_weight * center_loss. The state `center.centers` [C, D],
/// from a normal distribution of deviation sqrt(2 / C), is moved first; the loss sees it moved.
Tensor dcr_trunk_loss(Network& network, Tensor embeddings, Tensor logits, Tensor labels,
                      const DcrLossOptions& options = {});

/// For K scales of the same pictures, scale 0 the full resolution: the mean over the scales of
/// cross entropy and of center_weight * center_loss with centres `centers.<k>.centers` of each
/// scale, and distance_weight * the sum of mean((e_0 - e_k)^2). Gradients reach both e_0 and e_k.
/// Throws Error(usage) unless there are as many embeddings as logits, and at least one.
Tensor dcr_coupled_loss(Network& network, const std::vector<Tensor>& embeddings,
                        const std::vector<Tensor>& logits, Tensor labels,
                        const DcrLossOptions& options = {});

}  // namespace facet
