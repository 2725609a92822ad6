#include "training/evaluation/verification.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "ir/error.h"
#include "tests/support/fill.h"

// Numbers of other programs are from scikit-learn 1.9 and SciPy on the same fill.
namespace facet {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::Pointwise;

struct Pairs {
  Embeddings first;
  Embeddings second;
  std::vector<char> same;
};

/// Pairs in blocks of `block`, the first of one person, the next of two and so on.
Pairs filled_pairs(const std::string& name, std::int64_t count, std::int64_t block,
                   double offset = 0) {
  Pairs pairs;
  pairs.first = Embeddings(testing::uniform(name + ".a", {count, 6}, -1, 1));
  pairs.second = Embeddings(testing::uniform(name + ".n", {count, 6}, -1, 1));
  for (std::int64_t i = 0; i < count; ++i) {
    pairs.same.push_back((i / block) % 2 == 0 ? 1 : 0);
    for (std::int64_t d = 0; d < 6; ++d) {
      double& value = pairs.second.row(i)[d];
      if (pairs.same.back() != 0) value = pairs.first.row(i)[d] + 0.9 * value;
      value += offset;
    }
    for (double& value : pairs.first.row(i)) value += offset;
  }
  return pairs;
}

/// Pairs in the plane whose cosine is given.
Pairs pairs_of_cosines(const std::vector<double>& cosines, std::vector<char> same) {
  Pairs pairs{Embeddings(static_cast<std::int64_t>(cosines.size()), 2), {}, std::move(same)};
  pairs.second = pairs.first;
  for (std::size_t i = 0; i < cosines.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    pairs.first.row(row)[0] = 1;
    pairs.second.row(row)[0] = cosines[i];
    pairs.second.row(row)[1] = std::sqrt(1 - cosines[i] * cosines[i]);
  }
  return pairs;
}

std::vector<char> alternating(std::int64_t count) {
  std::vector<char> same;
  for (std::int64_t i = 0; i < count; ++i) same.push_back(i % 2 == 0 ? 1 : 0);
  return same;
}

/// 20 pairs of which all of one person have one cosine and all others another.
Pairs separated(double same, double other) {
  std::vector<double> cosines;
  for (int i = 0; i < 20; ++i) cosines.push_back(i % 2 == 0 ? same : other);
  return pairs_of_cosines(cosines, alternating(20));
}

TEST(Folds, RemainderGoesToTheFirst) {
  const std::vector<Fold> folds = folds_larger_first(23);
  ASSERT_EQ(folds.size(), 10U);
  EXPECT_EQ(folds[0], (Fold{0, 3}));
  EXPECT_EQ(folds[2], (Fold{6, 9}));
  EXPECT_EQ(folds[3], (Fold{9, 11}));
  EXPECT_EQ(folds[9], (Fold{21, 23}));
}

TEST(Folds, DcrRoundsBothEndsDown) {
  const std::vector<Fold> folds = folds_rounded_down(23);
  EXPECT_EQ(folds[0], (Fold{0, 2}));
  EXPECT_EQ(folds[1], (Fold{2, 4}));
  EXPECT_EQ(folds[3], (Fold{6, 9}));
  EXPECT_EQ(folds[9], (Fold{20, 23}));
}

TEST(Verification, InsightFaceTakesTheFirstOfTheBestThresholds) {
  // Distances 2 - 2 cos: 0.4 and 1.6. All thresholds in (0.4, 1.6] are right everywhere.
  const Pairs pairs = separated(0.8, 0.2);
  const Verification result = verify_insightface(pairs.first, pairs.second, pairs.same);
  EXPECT_EQ(result.mean, 1);
  EXPECT_EQ(result.deviation, 0);
  for (const double threshold : result.fold_threshold) EXPECT_NEAR(threshold, 0.41, 0.0101);
}

TEST(Verification, InsightFaceRefusesADistanceAtTheThreshold) {
  // Every distance is exactly 2, so that no threshold tells anything: up to 2.00 all pairs are
  // taken as different, and the first, 0.00, is as good as any.
  const Pairs pairs = separated(0, 0);
  EXPECT_EQ(verify_insightface(pairs.first, pairs.second, pairs.same).fold_threshold.front(), 0.0);
  // With more pairs of one person the first that takes all is 2.01: 2.00 would refuse them.
  std::vector<char> same = pairs.same;
  same[1] = same[3] = same[5] = 1;
  const Verification result = verify_insightface(pairs.first, pairs.second, same);
  for (const double threshold : result.fold_threshold) EXPECT_DOUBLE_EQ(threshold, 2.01);
}

TEST(Verification, DcrTakesTheLastOfTheBestThresholds) {
  const Pairs pairs = separated(0.8, 0.2);
  const Verification result = verify_dcr(pairs.first, pairs.second, pairs.same);
  EXPECT_EQ(result.mean, 1);
  // 0.8 itself is not above 0.8.
  for (const double threshold : result.fold_threshold) EXPECT_DOUBLE_EQ(threshold, 0.795);
}

TEST(Verification, LscnnTakesTheMeanOfTheBestThresholds) {
  // Symmetric about zero, so that the mean that is subtracted is zero.
  std::vector<double> cosines;
  for (int i = 0; i < 20; ++i) cosines.push_back(i % 2 == 0 ? 0.8 : 0.2);
  Pairs pairs = pairs_of_cosines(cosines, alternating(20));
  Pairs mirrored = pairs;
  for (Embeddings* table : {&mirrored.first, &mirrored.second}) {
    for (double& value : table->values) value = -value;
  }
  for (const auto& [table, more] :
       {std::pair(&pairs.first, &mirrored.first), std::pair(&pairs.second, &mirrored.second)}) {
    Embeddings both(40, 2);
    for (std::int64_t i = 0; i < 20; ++i) {  // neighbours, so that every fold's mean is zero, too
      std::ranges::copy(table->row(i), both.row(2 * i).begin());
      std::ranges::copy(more->row(i), both.row(2 * i + 1).begin());
    }
    *table = both;
  }
  std::vector<char> same;
  for (const char one : alternating(20)) same.insert(same.end(), 2, one);
  const Verification result = verify_lscnn(pairs.first, pairs.second, same);
  EXPECT_EQ(result.mean, 1);
  for (const double threshold : result.fold_threshold) EXPECT_NEAR(threshold, 0.5, 1e-4);
}

TEST(Verification, LscnnCountsAScoreAtTheThresholdAsWrong) {
  // Right angles with opposite pairs beside them: the mean is zero, every score is exactly 0 or -1.
  Pairs pairs{Embeddings(20, 2), Embeddings(20, 2), {}};
  for (std::int64_t i = 0; i < 20; ++i) {
    const double sign = i % 2 == 0 ? 1 : -1;
    pairs.first.row(i)[0] = sign;
    pairs.second.row(i)[1] = sign;
    pairs.same.push_back(i < 2 ? 1 : 0);
  }
  // Thresholds below 0 take all pairs, those above none; at 0 all are wrong. Most pairs are of two.
  const Verification result = verify_lscnn(pairs.first, pairs.second, pairs.same);
  EXPECT_NEAR(result.fold_threshold[3], (0.0001 + 1) / 2, 1e-12);
  EXPECT_EQ(result.fold_accuracy[0], 0);
  EXPECT_EQ(result.fold_accuracy[3], 1);
}

TEST(Verification, LscnnIsAsNumpySays) {
  const Pairs pairs = filled_pairs("ls", 100, 5, 0.2);
  const Verification result = verify_lscnn(pairs.first, pairs.second, pairs.same);
  EXPECT_THAT(result.fold_accuracy, ElementsAre(0.8, 0.8, 1.0, 0.9, 0.9, 1.0, 0.8, 0.7, 0.9, 0.8));
  const double expected[] = {0.36014999999999997, 0.45795000000000002, 0.47471818181818182,
                             0.36427424657534252, 0.39840644171779138, 0.47439999999999999,
                             0.47214999999999996, 0.46035000000000004, 0.36150000000000004,
                             0.47675000000000001};
  for (std::size_t i = 0; i < 10; ++i) EXPECT_NEAR(result.fold_threshold[i], expected[i], 1e-12);
}

TEST(Verification, DcrIsAsNumpySaysWhereFoldsDiffer) {
  Pairs pairs = filled_pairs("ls", 100, 5, 0.2);
  for (Embeddings* table : {&pairs.first, &pairs.second}) {
    table->rows = 97;
    table->values.resize(97 * 6);
  }
  pairs.same.resize(97);
  const Verification result = verify_dcr(pairs.first, pairs.second, pairs.same);
  EXPECT_THAT(result.fold_accuracy,
              Pointwise(DoubleEq(), {7.0 / 9, 0.8, 1.0, 1.0, 0.8, 1.0, 7.0 / 9, 0.7, 0.7, 1.0}));
  EXPECT_THAT(result.fold_threshold,
              Pointwise(DoubleEq(), {0.46, 0.46, 0.46, 0.46, 0.46, 0.46, 0.46, 0.52, 0.46, 0.46}));
  EXPECT_NEAR(result.mean, 0.85555555555555574, 1e-15);
  EXPECT_NEAR(result.deviation, 0.12252487779635753, 1e-15);
}

TEST(Verification, PrincipalComponentsAreAsScikitLearnSays) {
  const Pairs pairs = filled_pairs("val", 300, 15);
  const Verification result = verify_insightface_pca(pairs.first, pairs.second, pairs.same, 3);
  EXPECT_THAT(result.fold_accuracy,
              Pointwise(DoubleEq(), {24 / 30.0, 27 / 30.0, 23 / 30.0, 25 / 30.0, 24 / 30.0,
                                     25 / 30.0, 25 / 30.0, 24 / 30.0, 23 / 30.0, 26 / 30.0}));
  EXPECT_THAT(result.fold_threshold,
              Pointwise(DoubleEq(), {0.83, 0.88, 1.06, 0.71, 0.67, 0.85, 0.9, 0.79, 0.96, 0.81}));
}

TEST(Verification, AcceptanceRateIsAsSciPyInterpolates) {
  const Pairs pairs = filled_pairs("val", 300, 15);
  std::vector<double> distances = insightface_scores(pairs.first, pairs.second);
  for (double& distance : distances) distance = -distance;
  const struct {
    double target, rate, deviation, far;
  } expected[] = {{0.01, 0.54, 0.124543611281796, 0.013333333333333332},
                  {0.05, 0.74, 0.11718930554164633, 0.05333333333333333},
                  {0.1, 0.84, 0.074236858171066955, 0.10666666666666666}};
  for (const auto& [target, rate, deviation, far] : expected) {
    const ValidationRate result = validation_rate(distances, pairs.same, target);
    EXPECT_NEAR(result.rate, rate, 1e-12) << target;
    EXPECT_NEAR(result.deviation, deviation, 1e-12) << target;
    EXPECT_NEAR(result.far, far, 1e-12) << target;
  }
}

TEST(Verification, AcceptanceRateTakesTheLastOfEqualRates) {
  // Distances of two persons: 1.0005; of one: 0.5 or 0.999. The rate of wrong acceptances is 0
  // for all thresholds up to 1.000, so that the threshold of FAR 0 is there and takes all.
  std::vector<double> distances;
  for (int i = 0; i < 40; ++i) distances.push_back(i % 2 == 1 ? 1.0005 : i % 4 == 0 ? 0.5 : 0.999);
  const ValidationRate result = validation_rate(distances, alternating(40), 0);
  EXPECT_EQ(result.rate, 1);
  EXPECT_EQ(result.far, 0);
}

TEST(Verification, AcceptanceRateIsNothingWhereNoThresholdReachesTheTarget) {
  // Distances at 4 are below no threshold.
  const std::vector<double> distances(40, 4.0);
  EXPECT_EQ(validation_rate(distances, alternating(40), 0.5).rate, 0);
}

TEST(Verification, ScoresGrowWithSimilarity) {
  const Pairs pairs = pairs_of_cosines({0.9, 0.1}, {1, 0});
  EXPECT_NEAR(insightface_scores(pairs.first, pairs.second)[0], -0.2, 1e-12);
  EXPECT_NEAR(dcr_scores(pairs.first, pairs.second)[1], 0.1, 1e-12);
  const Pairs more = filled_pairs("ls", 100, 5);
  EXPECT_EQ(lscnn_scores(more.first, more.second).size(), 100U);
}

TEST(Verification, ZerosAreNoReasonToFail) {
  const Pairs pairs{Embeddings(20, 3), Embeddings(20, 3), alternating(20)};
  EXPECT_EQ(verify_insightface(pairs.first, pairs.second, pairs.same).mean, 0.5);
  EXPECT_EQ(verify_dcr(pairs.first, pairs.second, pairs.same).mean, 0.5);
  EXPECT_EQ(verify_lscnn(pairs.first, pairs.second, pairs.same).mean, 0.5);
}

TEST(Verification, WhatDoesNotFitIsRefused) {
  const Embeddings nine(9, 2);
  EXPECT_THROW(verify_insightface(nine, nine, alternating(9)), Error);
  const Embeddings twenty(20, 2);
  EXPECT_THROW(verify_dcr(twenty, twenty, alternating(19)), Error);
  EXPECT_THROW(verify_lscnn(twenty, Embeddings(20, 3), alternating(20)), Error);
  EXPECT_THROW(verify_insightface_pca(twenty, twenty, alternating(20), 3), Error);
}

}  // namespace
}  // namespace facet
