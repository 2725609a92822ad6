#include "training/losses.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <utility>

#include "ir/error.h"

namespace facet {
namespace {

using Kind = MarginOptions::Kind;
using Variant = MarginOptions::Variant;

void check(const MarginOptions& options) {
  const double most = options.kind == Kind::arcface ? std::numbers::pi : 2;
  if (!(options.margin >= 0 && options.margin < most)) {
    throw usage_error(fmt::format("the margin is {}; it must be at least 0 and below {:.4g}",
                                  options.margin, most));
  }
  if (!(options.scale > 0)) {
    throw usage_error(
        fmt::format("the scale of a margin loss is {}; it must be positive", options.scale));
  }
  if (!(options.filter_threshold >= 0 && options.filter_threshold <= 1)) {
    throw usage_error(
        fmt::format("the threshold of inter-class filtering is {}; it must be in "
                    "[0, 1], 0 for none",
                    options.filter_threshold));
  }
  if (options.easy_margin &&
      (options.kind != Kind::arcface || options.variant != Variant::threshold)) {
    throw usage_error("an easy margin needs arcface in its threshold variant");
  }
}

/// `number` as the sum of two that f32 holds: the constants of a graph are f32, and a graph that
/// runs in float64 is to be as exact as its formula.
std::pair<double, double> halves(double number) {
  const double high = static_cast<float>(number);
  return {high, static_cast<float>(number - high)};
}

Tensor times(Tensor x, double number) {
  const auto [high, low] = halves(number);
  return low == 0 ? x * high : x * high + x * low;
}

Tensor minus(Tensor x, double number) {
  const auto [high, low] = halves(number);
  return low == 0 ? x - high : x - high - low;
}

/// The cosines, but those of other classes above the threshold are 0.
Tensor filtered(Tensor cosines, Tensor labels, double threshold) {
  if (threshold == 0) return cosines;
  const Tensor others = where(greater(cosines, threshold), 0.0, cosines);
  return place(others, labels, pick(cosines, labels));
}

/// The target's cosine c [N, 1] after the margin.
Tensor with_margin(Tensor c, const MarginOptions& options) {
  const double m = options.margin;
  if (options.kind == Kind::cosface) return minus(c, m);
  const Tensor square_sine = 1.0 - square(c);
  const bool is_value_only = options.variant == Variant::straight_through;
  const Tensor sine = sqrt(is_value_only ? square_sine : maximum(square_sine, 1e-12));
  const Tensor added = times(c, std::cos(m)) - times(sine, std::sin(m));
  if (options.variant != Variant::threshold) return added;
  if (options.easy_margin) return where(greater(c, 0.0), added, c);
  return where(greater(c, -std::cos(m)), added, minus(c, m * std::sin(m)));
}

/// The mean over all elements, as [1].
Tensor mean_of_all(Tensor x) { return reshape(mean(x, {0, 1}), {1}); }

/// Ones [N, 1], for x [N, D].
Tensor ones_per_row(Tensor x) { return where(slice(x, 1, 0, 1), 1.0, 1.0); }

/// Class centres as state: moved by this batch, and kept.
Tensor kept_centers(Network& network, Scope scope, Tensor x, Tensor labels, std::int64_t classes,
                    double factor) {
  const double deviation = std::sqrt(2.0 / static_cast<double>(classes));
  const Tensor centers = scope.state_parameter("centers", {classes, x.extent(1)},
                                               {Initializer::Kind::normal, 0, deviation});
  const Tensor moved = moved_centers(centers, x, labels, factor);
  network.update(centers, moved);
  return moved;
}

}  // namespace

Tensor class_centers(Scope scope, std::int64_t classes, std::int64_t width) {
  return scope.parameter("weight", {classes, width}, {Initializer::Kind::normal, 0, 0.01},
                         ParameterRole::weight);
}

Tensor cosine_similarities(Tensor embeddings, Tensor centers) {
  const Tensor cosines =
      matmul_transposed(l2_normalize(embeddings), false, l2_normalize(centers), true);
  cosines.value().node->attributes().set("full_precision", true);
  return clamp(cosines, -1, 1);
}

Tensor margin_logits(Tensor cosines, Tensor labels, const MarginOptions& options) {
  check(options);
  const Tensor kept = filtered(cosines, labels, options.filter_threshold);
  const Tensor moved = place(kept, labels, with_margin(pick(kept, labels), options));
  // The derivative of a cosface target is 1 as well, and this spares its backward pass.
  const bool passes_straight =
      options.kind == Kind::cosface || options.variant == Variant::straight_through;
  return times(passes_straight ? straight_through(moved, kept) : moved, options.scale);
}

Tensor moved_centers(Tensor centers, Tensor x, Tensor labels, double factor) {
  const std::int64_t classes = centers.extent(0);
  const Tensor fixed = stop_gradient(x);
  const Tensor residuals = fixed - gather_rows(centers, labels);
  const Tensor counts = scatter_add_rows(ones_per_row(fixed), labels, classes);
  const Tensor sums = scatter_add_rows(residuals, labels, classes);
  return stop_gradient(centers + sums * times(1.0 / maximum(counts, 1.0), factor));
}

Tensor center_loss(Tensor x, Tensor centers, Tensor labels) {
  const Tensor fixed = stop_gradient(centers);
  // A row without target has no centre to be away from.
  const Tensor counts = scatter_add_rows(ones_per_row(x), labels, centers.extent(0));
  const Tensor has_target = greater(gather_rows(counts, labels), 0.0);
  return mean_of_all(square(x - gather_rows(fixed, labels)) * has_target);
}

Tensor dcr_trunk_loss(Network& network, Tensor embeddings, Tensor logits, Tensor labels,
                      const DcrLossOptions& options) {
  const Tensor centers = kept_centers(network, network.root() / "center", embeddings, labels,
                                      logits.extent(1), options.center_update);
  return cross_entropy(logits, labels, options.label_smoothing) +
         times(center_loss(embeddings, centers, labels), options.center_weight);
}

Tensor dcr_coupled_loss(Network& network, const std::vector<Tensor>& embeddings,
                        const std::vector<Tensor>& logits, Tensor labels,
                        const DcrLossOptions& options) {
  if (embeddings.empty() || embeddings.size() != logits.size()) {
    throw usage_error(
        fmt::format("the coupled loss takes embeddings and logits of every scale, not "
                    "{} embeddings and {} logits",
                    embeddings.size(), logits.size()));
  }
  const double share = 1.0 / static_cast<double>(embeddings.size());
  std::vector<Tensor> terms;
  for (std::size_t k = 0; k < embeddings.size(); ++k) {
    const Scope scope = network.root() / "centers" / static_cast<std::int64_t>(k);
    const Tensor centers = kept_centers(network, scope, embeddings[k], labels, logits[k].extent(1),
                                        options.center_update);
    terms.push_back(times(cross_entropy(logits[k], labels, options.label_smoothing), share));
    terms.push_back(
        times(center_loss(embeddings[k], centers, labels), options.center_weight * share));
    if (k == 0) continue;  // the distance of scale 0 to itself is 0
    terms.push_back(
        times(mean_of_all(square(embeddings[0] - embeddings[k])), options.distance_weight));
  }
  Tensor sum = terms[0];
  for (std::size_t i = 1; i < terms.size(); ++i) sum = sum + terms[i];
  return sum;
}

}  // namespace facet
