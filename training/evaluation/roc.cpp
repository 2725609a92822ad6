#include "training/evaluation/roc.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>

#include "ir/error.h"

namespace facet {
namespace {

/// How many of either kind are accepted.
struct Counts {
  double threshold = 0;
  std::int64_t other = 0;
  std::int64_t same = 0;
};

/// By falling score, one entry for each distinct one.
std::vector<Counts> cumulative_counts(const std::vector<double>& scores,
                                      const std::vector<char>& same) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, std::ranges::greater{}, [&](std::size_t i) { return scores[i]; });
  std::vector<Counts> counts;
  Counts now;
  for (std::size_t i = 0; i < order.size(); ++i) {
    ++(same[order[i]] != 0 ? now.same : now.other);
    now.threshold = scores[order[i]];
    if (i + 1 == order.size() || scores[order[i + 1]] != now.threshold) counts.push_back(now);
  }
  return counts;
}

}  // namespace

std::vector<RocPoint> roc_curve(const std::vector<double>& scores, const std::vector<char>& same,
                                bool all) {
  if (scores.size() != same.size()) throw usage_error("as many scores as labels are needed");
  if (std::ranges::any_of(scores, [](double score) { return std::isnan(score); })) {
    throw usage_error("a score is not a number");
  }
  const std::vector<Counts> counts = cumulative_counts(scores, same);
  if (counts.empty() || counts.back().same == 0 || counts.back().other == 0) {
    throw usage_error("a ROC curve needs pairs of one person and pairs of two");
  }
  const auto positives = static_cast<double>(counts.back().same);
  const auto negatives = static_cast<double>(counts.back().other);
  std::vector<RocPoint> curve = {{std::numeric_limits<double>::infinity(), 0, 0}};
  for (std::size_t i = 0; i < counts.size(); ++i) {
    // On a line of equal steps on both sides; sklearn compares second differences of the counts.
    const bool straight = !all && i > 0 && i + 1 < counts.size() &&
                          counts[i + 1].other - 2 * counts[i].other + counts[i - 1].other == 0 &&
                          counts[i + 1].same - 2 * counts[i].same + counts[i - 1].same == 0;
    if (straight) continue;
    curve.push_back({counts[i].threshold, static_cast<double>(counts[i].other) / negatives,
                     static_cast<double>(counts[i].same) / positives});
  }
  return curve;
}

double area_under(const std::vector<RocPoint>& curve) {
  double area = 0;
  for (std::size_t i = 1; i < curve.size(); ++i) {
    area += (curve[i].fpr - curve[i - 1].fpr) * (curve[i].tpr + curve[i - 1].tpr) / 2;
  }
  return area;
}

double equal_error_rate(const std::vector<RocPoint>& curve) {
  for (std::size_t i = 1; i < curve.size(); ++i) {
    // Refused minus accepted falls from 1 to -1.
    const double before = 1 - curve[i - 1].tpr - curve[i - 1].fpr;
    const double after = 1 - curve[i].tpr - curve[i].fpr;
    if (after > 0) continue;
    const double share = before == after ? 0 : before / (before - after);
    return curve[i - 1].fpr + share * (curve[i].fpr - curve[i - 1].fpr);
  }
  return 1;
}

double tar_at_far(const std::vector<RocPoint>& curve, double far) {
  double nearest = std::numeric_limits<double>::infinity();
  double tar = 0;
  for (const RocPoint& point : curve) {
    const double distance = std::abs(point.fpr - far);
    if (distance > nearest) continue;
    if (distance < nearest) tar = point.tpr;
    tar = std::max(tar, point.tpr);
    nearest = distance;
  }
  return tar;
}

}  // namespace facet
