#pragma once

#include <vector>

namespace facet {

/// What accepting all pairs from a score on would give, by falling score.
struct RocPoint {
  double threshold = 0;  ///< accepted: scores from here on; infinite for the first point
  double fpr = 0;        ///< part of the pairs of two persons that is accepted, FAR
  double tpr = 0;        ///< part of the pairs of one person that is accepted, TAR
};

/// From (0, 0) to (1, 1), as scikit-learn's `roc_curve` makes it: a point for every distinct score,
/// without those that lie on a straight line between their neighbours unless `all` is set. `scores`
/// are larger for more similar pairs. Throws Error(usage) for other numbers of labels than scores,
/// without a pair of either kind, and for scores that are NaN.
std::vector<RocPoint> roc_curve(const std::vector<double>& scores, const std::vector<char>& same,
                                bool all = false);

/// The area below the curve, by trapezoids.
double area_under(const std::vector<RocPoint>& curve);

/// Where as large a part of the pairs of two persons is accepted as of one person is refused,
/// linearly between the points.
double equal_error_rate(const std::vector<RocPoint>& curve);

/// The TPR of the point whose FPR is nearest to `far`; of several as near the largest TPR (the way
/// IJB-B and IJB-C are reported: specs, MLA-ArcFace 6.2).
double tar_at_far(const std::vector<RocPoint>& curve, double far);

}  // namespace facet
