#pragma once

#include <cstdint>
#include <vector>

#include "training/evaluation/embeddings.h"

/// 1:1 verification in ten folds: thresholds are chosen on nine and judged on the tenth. The
/// published protocols differ in the score, the thresholds, and which of several best thresholds
/// they take.
namespace facet {

/// Places [begin, end) of the pairs.
struct Fold {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  friend bool operator==(const Fold&, const Fold&) = default;
};
/// Contiguous; the first `pairs` mod `count` folds have one more (scikit-learn's KFold).
std::vector<Fold> folds_larger_first(std::int64_t pairs, std::int64_t count = 10);
/// Contiguous, [floor(i n / count), floor((i + 1) n / count)) (DCR's).
std::vector<Fold> folds_rounded_down(std::int64_t pairs, std::int64_t count = 10);

struct Verification {
  std::vector<double> fold_accuracy;   ///< on the pairs of the fold, 0 to 1
  std::vector<double> fold_threshold;  ///< chosen on the other folds
  double mean = 0;                     ///< of the folds' accuracies
  double deviation = 0;                ///< their population standard deviation
  double threshold = 0;                ///< mean of the folds' thresholds
};

/// `first` and `second` [P, D] are the pairs' embeddings, as the network gives them (sums of both
/// flips for insightface, both flips side by side for lscnn); `same` [P] says whether a pair shows
/// one person. All throw Error(usage) if they do not fit each other or there are fewer than ten
/// pairs.

/// InsightFace (specs: MLA-ArcFace 6.1): squared distance of L2-normalised embeddings, in [0, 4].
/// Of the thresholds 0.00, 0.01, ..., 3.99 the first with the most pairs right; a pair is the same
/// if its distance is below, not at, the threshold.
Verification verify_insightface(const Embeddings& first, const Embeddings& second,
                                const std::vector<char>& same);
/// The same with embeddings that are projected on the `components` directions of the largest
/// variance, fitted to both sides of the nine folds, and normalised again (6.1, step 5).
Verification verify_insightface_pca(const Embeddings& first, const Embeddings& second,
                                    const std::vector<char>& same, std::int64_t components);

/// LS-CNN (6): the mean of all embeddings of the nine folds is subtracted, rows are L2-normalised,
/// the score is their dot product. Of the thresholds k / 10000, k = -10000 ... 10000, the mean of
/// all with the most pairs right; a score at the threshold is wrong, whichever pair it is of.
Verification verify_lscnn(const Embeddings& first, const Embeddings& second,
                          const std::vector<char>& same);

/// DCR (6.1): cosine; of the thresholds -1.000, -0.995, ..., 0.995 the last with the most pairs
/// right; the same if the score is above the threshold; folds are rounded down.
Verification verify_dcr(const Embeddings& first, const Embeddings& second,
                        const std::vector<char>& same);

/// How many pairs of one person are accepted where a rate of wrong acceptances is allowed.
struct ValidationRate {
  double rate = 0;       ///< VAL: mean over the folds
  double deviation = 0;  ///< population standard deviation
  double far = 0;        ///< wrong acceptances that the thresholds really gave, mean over the folds
};
/// VAL@FAR (MLA-ArcFace 6.1, step 4) of pairs' distances: for each fold the threshold at which the
/// other folds' rate of wrong acceptances is `target`, interpolated linearly between the thresholds
/// 0.000, 0.001, ..., 3.999 (between the last one whose rate is at most the target and the next); 0
/// where no threshold reaches it. A fold without pairs of one person counts not in `rate`, one
/// without pairs of two not in `far`.
ValidationRate validation_rate(const std::vector<double>& distances, const std::vector<char>& same,
                               double target);

/// For each pair the score by which these protocols compare, larger for more similar: minus the
/// squared distance, the dot product with the mean of the pair's other folds subtracted, the
/// cosine.
std::vector<double> insightface_scores(const Embeddings& first, const Embeddings& second);
std::vector<double> lscnn_scores(const Embeddings& first, const Embeddings& second);
std::vector<double> dcr_scores(const Embeddings& first, const Embeddings& second);

/// Mean and population standard deviation; zeros of nothing.
struct MeanAndDeviation {
  double mean = 0;
  double deviation = 0;
};
MeanAndDeviation mean_and_deviation(const std::vector<double>& values);

}  // namespace facet
