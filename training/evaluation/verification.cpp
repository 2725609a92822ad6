#include "training/evaluation/verification.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <utility>

#include "ir/error.h"
#include "training/evaluation/principal_components.h"

namespace facet {
namespace {

constexpr std::int64_t kFolds = 10;

bool inside(const Fold& fold, std::int64_t i) { return i >= fold.begin && i < fold.end; }

/// Scores sorted by what they are of, so that a threshold's rights are two binary searches.
class SortedScores {
 public:
  /// Those inside the fold, or those outside.
  SortedScores(const std::vector<double>& scores, const std::vector<char>& same, const Fold& fold,
               bool wanted_inside) {
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (inside(fold, static_cast<std::int64_t>(i)) != wanted_inside) continue;
      (same[i] != 0 ? same_ : other_).push_back(scores[i]);
    }
    std::ranges::sort(same_);
    std::ranges::sort(other_);
  }

  std::int64_t same() const { return static_cast<std::int64_t>(same_.size()); }
  std::int64_t other() const { return static_cast<std::int64_t>(other_.size()); }
  std::int64_t count() const { return same() + other(); }
  std::int64_t same_below(double threshold) const { return below(same_, threshold); }
  std::int64_t other_below(double threshold) const { return below(other_, threshold); }
  std::int64_t same_above(double threshold) const {
    return same_.end() - std::ranges::upper_bound(same_, threshold);
  }
  std::int64_t other_up_to(double threshold) const {
    return std::ranges::upper_bound(other_, threshold) - other_.begin();
  }

 private:
  static std::int64_t below(const std::vector<double>& sorted, double threshold) {
    return std::ranges::lower_bound(sorted, threshold) - sorted.begin();
  }
  std::vector<double> same_;
  std::vector<double> other_;
};

void check_pairs(const Embeddings& first, const Embeddings& second, const std::vector<char>& same) {
  if (first.rows != second.rows || first.width != second.width ||
      first.rows != static_cast<std::int64_t>(same.size())) {
    throw usage_error("the two sides of the pairs and their labels are not as many");
  }
  if (first.rows < kFolds) {
    throw usage_error(fmt::format("{} pairs are too few for {} folds", first.rows, kFolds));
  }
}

Verification summary(std::vector<double> accuracy, std::vector<double> threshold) {
  Verification result;
  const auto [mean, deviation] = mean_and_deviation(accuracy);
  result.mean = mean;
  result.deviation = deviation;
  result.threshold = mean_and_deviation(threshold).mean;
  result.fold_accuracy = std::move(accuracy);
  result.fold_threshold = std::move(threshold);
  return result;
}

/// How many pairs a threshold gets right.
using Rights = std::function<std::int64_t(const SortedScores&, double threshold)>;

std::int64_t right_by_distance(const SortedScores& scores, double threshold) {
  return scores.same_below(threshold) + scores.other() - scores.other_below(threshold);
}

std::int64_t right_by_cosine(const SortedScores& scores, double threshold) {
  return scores.same_above(threshold) + scores.other_up_to(threshold);
}

std::int64_t right_by_strict_cosine(const SortedScores& scores, double threshold) {
  return scores.same_above(threshold) + scores.other_below(threshold);
}

enum class Best { first, last, mean };

double best_threshold(const SortedScores& scores, const Rights& rights,
                      const std::vector<double>& thresholds, Best best) {
  std::int64_t most = -1;
  std::vector<double> all;
  for (const double threshold : thresholds) {
    const std::int64_t right = rights(scores, threshold);
    if (right < most) continue;
    if (right > most) all.clear();
    most = right;
    all.push_back(threshold);
  }
  if (best == Best::first) return all.front();
  return best == Best::last ? all.back() : mean_and_deviation(all).mean;
}

/// `scores_for(fold)`: of all pairs, where they may depend on what the other folds teach.
Verification verify(const std::function<std::vector<double>(const Fold&)>& scores_for,
                    const std::vector<char>& same, const std::vector<Fold>& folds,
                    const Rights& rights, const std::vector<double>& thresholds, Best best) {
  std::vector<double> accuracy;
  std::vector<double> chosen;
  for (const Fold& fold : folds) {
    const std::vector<double> scores = scores_for(fold);
    const double threshold =
        best_threshold(SortedScores(scores, same, fold, false), rights, thresholds, best);
    const SortedScores held_out(scores, same, fold, true);
    chosen.push_back(threshold);
    accuracy.push_back(static_cast<double>(rights(held_out, threshold)) /
                       static_cast<double>(held_out.count()));
  }
  return summary(std::move(accuracy), std::move(chosen));
}

std::vector<double> distance_thresholds(int count, double step) {
  std::vector<double> thresholds;
  for (int i = 0; i < count; ++i) thresholds.push_back(i * step);
  return thresholds;
}

std::vector<double> distances(const Embeddings& first, const Embeddings& second) {
  const Embeddings a = normalized(first);
  const Embeddings b = normalized(second);
  std::vector<double> result;
  for (std::int64_t i = 0; i < a.rows; ++i) result.push_back(squared_distance(a.row(i), b.row(i)));
  return result;
}

/// LS-CNN's score of pair i, with `mean` subtracted from both sides.
double centred_score(const Embeddings& first, const Embeddings& second, std::int64_t i,
                     const std::vector<double>& mean) {
  std::vector<double> a(first.row(i).begin(), first.row(i).end());
  std::vector<double> b(second.row(i).begin(), second.row(i).end());
  for (std::size_t d = 0; d < mean.size(); ++d) {
    a[d] -= mean[d];
    b[d] -= mean[d];
  }
  normalize(a);
  normalize(b);
  return dot(a, b);
}

/// Of both sides of the pairs outside the fold.
std::vector<double> mean_outside(const Embeddings& first, const Embeddings& second,
                                 const Fold& fold) {
  std::vector<double> mean(static_cast<std::size_t>(first.width));
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < first.rows; ++i) {
    if (inside(fold, i)) continue;
    for (std::size_t d = 0; d < mean.size(); ++d) mean[d] += first.row(i)[d] + second.row(i)[d];
    count += 2;
  }
  for (double& value : mean) value /= static_cast<double>(std::max<std::int64_t>(count, 1));
  return mean;
}

/// The threshold at which the rate of wrong acceptances is `target`.
double threshold_at(const SortedScores& scores, const std::vector<double>& thresholds,
                    double target) {
  const auto rate = [&](std::size_t i) {
    return static_cast<double>(scores.other_below(thresholds[i])) /
           static_cast<double>(scores.other());
  };
  if (scores.other() == 0 || rate(thresholds.size() - 1) < target) return 0;
  std::size_t low = 0;  // the rate of threshold 0 is 0: nothing is nearer than that
  while (low + 1 < thresholds.size() && rate(low + 1) <= target) ++low;
  if (low + 1 == thresholds.size()) return thresholds[low];
  const double share = (target - rate(low)) / (rate(low + 1) - rate(low));
  return thresholds[low] + share * (thresholds[low + 1] - thresholds[low]);
}

}  // namespace

MeanAndDeviation mean_and_deviation(const std::vector<double>& values) {
  if (values.empty()) return {};
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  const double mean = sum / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / count)};
}

std::vector<Fold> folds_larger_first(std::int64_t pairs, std::int64_t count) {
  std::vector<Fold> folds;
  std::int64_t begin = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t size = pairs / count + (i < pairs % count ? 1 : 0);
    folds.push_back({begin, begin + size});
    begin += size;
  }
  return folds;
}

std::vector<Fold> folds_rounded_down(std::int64_t pairs, std::int64_t count) {
  std::vector<Fold> folds;
  for (std::int64_t i = 0; i < count; ++i)
    folds.push_back({i * pairs / count, (i + 1) * pairs / count});
  return folds;
}

std::vector<double> insightface_scores(const Embeddings& first, const Embeddings& second) {
  std::vector<double> scores = distances(first, second);
  for (double& score : scores) score = -score;
  return scores;
}

std::vector<double> lscnn_scores(const Embeddings& first, const Embeddings& second) {
  std::vector<double> scores;
  for (const Fold& fold : folds_larger_first(first.rows, kFolds)) {
    const std::vector<double> mean = mean_outside(first, second, fold);
    for (std::int64_t i = fold.begin; i < fold.end; ++i) {
      scores.push_back(centred_score(first, second, i, mean));
    }
  }
  return scores;
}

std::vector<double> dcr_scores(const Embeddings& first, const Embeddings& second) {
  std::vector<double> scores;
  for (std::int64_t i = 0; i < first.rows; ++i)
    scores.push_back(cosine(first.row(i), second.row(i)));
  return scores;
}

Verification verify_insightface(const Embeddings& first, const Embeddings& second,
                                const std::vector<char>& same) {
  check_pairs(first, second, same);
  const std::vector<double> all = distances(first, second);
  return verify([&](const Fold&) { return all; }, same, folds_larger_first(first.rows, kFolds),
                right_by_distance, distance_thresholds(400, 0.01), Best::first);
}

Verification verify_insightface_pca(const Embeddings& first, const Embeddings& second,
                                    const std::vector<char>& same, std::int64_t components) {
  check_pairs(first, second, same);
  const Embeddings a = normalized(first);
  const Embeddings b = normalized(second);
  const auto projected = [&](const Fold& fold) {
    Embeddings outside(2 * (a.rows - (fold.end - fold.begin)), a.width);
    std::int64_t to = 0;
    for (const Embeddings* side : {&a, &b}) {
      for (std::int64_t i = 0; i < side->rows; ++i) {
        if (!inside(fold, i)) std::ranges::copy(side->row(i), outside.row(to++).begin());
      }
    }
    const PrincipalComponents basis(outside, components);
    return distances(basis.project(a), basis.project(b));
  };
  return verify(projected, same, folds_larger_first(first.rows, kFolds), right_by_distance,
                distance_thresholds(400, 0.01), Best::first);
}

Verification verify_lscnn(const Embeddings& first, const Embeddings& second,
                          const std::vector<char>& same) {
  check_pairs(first, second, same);
  std::vector<double> thresholds;
  for (int k = -10000; k <= 10000; ++k) thresholds.push_back(k / 10000.0);
  const auto scores = [&](const Fold& fold) {
    const std::vector<double> mean = mean_outside(first, second, fold);
    std::vector<double> all;
    for (std::int64_t i = 0; i < first.rows; ++i)
      all.push_back(centred_score(first, second, i, mean));
    return all;
  };
  return verify(scores, same, folds_larger_first(first.rows, kFolds), right_by_strict_cosine,
                thresholds, Best::mean);
}

Verification verify_dcr(const Embeddings& first, const Embeddings& second,
                        const std::vector<char>& same) {
  check_pairs(first, second, same);
  std::vector<double> thresholds;
  for (int k = -200; k < 200; ++k) thresholds.push_back(k / 200.0);
  const std::vector<double> all = dcr_scores(first, second);
  return verify([&](const Fold&) { return all; }, same, folds_rounded_down(first.rows, kFolds),
                right_by_cosine, thresholds, Best::last);
}

ValidationRate validation_rate(const std::vector<double>& distances, const std::vector<char>& same,
                               double target) {
  if (distances.size() != same.size()) throw usage_error("as many distances as labels are needed");
  const std::vector<double> thresholds = distance_thresholds(4000, 0.001);
  std::vector<double> rates;
  std::vector<double> wrong;
  for (const Fold& fold : folds_larger_first(static_cast<std::int64_t>(same.size()), kFolds)) {
    const double threshold =
        threshold_at(SortedScores(distances, same, fold, false), thresholds, target);
    const SortedScores held_out(distances, same, fold, true);
    if (held_out.same() > 0) {
      rates.push_back(static_cast<double>(held_out.same_below(threshold)) /
                      static_cast<double>(held_out.same()));
    }
    if (held_out.other() > 0) {
      wrong.push_back(static_cast<double>(held_out.other_below(threshold)) /
                      static_cast<double>(held_out.other()));
    }
  }
  const auto [rate, deviation] = mean_and_deviation(rates);
  return {rate, deviation, mean_and_deviation(wrong).mean};
}

}  // namespace facet
