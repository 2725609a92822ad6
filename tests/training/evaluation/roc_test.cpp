#include "training/evaluation/roc.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>

#include "ir/error.h"
#include "tests/support/fill.h"

// Expected numbers: scikit-learn 1.9's roc_curve and auc, SciPy's brentq for the equal error rate.
namespace facet {
namespace {

struct Scores {
  std::vector<double> scores;
  std::vector<char> same;
};

/// Quarter steps: many pairs have one score.
Scores tied_scores() {
  Scores made;
  const std::vector<double> noise = testing::uniform("roc.scores", {200}, -1, 1).to_doubles();
  for (std::size_t i = 0; i < noise.size(); ++i) {
    made.same.push_back(i % 3 != 0 ? 1 : 0);
    made.scores.push_back(std::nearbyint(noise[i] * 10 + 4 * made.same.back()) / 4);
  }
  return made;
}

Scores fine_scores() {
  Scores made;
  const std::vector<double> noise = testing::uniform("roc.fine", {60}, -1, 1).to_doubles();
  for (std::size_t i = 0; i < noise.size(); ++i) {
    made.same.push_back(i % 3 != 0 ? 1 : 0);
    made.scores.push_back(noise[i] + 0.8 * made.same.back());
  }
  return made;
}

TEST(Roc, TiedScoresAreOnePoint) {
  const Scores made = tied_scores();
  const std::vector<RocPoint> curve = roc_curve(made.scores, made.same);
  ASSERT_EQ(curve.size(), 26U);
  EXPECT_TRUE(std::isinf(curve[0].threshold));
  EXPECT_EQ(curve[0].tpr, 0);
  EXPECT_EQ(curve[1].threshold, 3.5);
  EXPECT_DOUBLE_EQ(curve[1].tpr, 0.03007518796992481);
  EXPECT_EQ(curve[10].threshold, 1.25);
  EXPECT_DOUBLE_EQ(curve[10].fpr, 0.26865671641791045);
  EXPECT_DOUBLE_EQ(curve[10].tpr, 0.44360902255639095);
  EXPECT_EQ(curve.back().fpr, 1);
  EXPECT_EQ(curve.back().tpr, 1);
  EXPECT_NEAR(area_under(curve), 0.67960947143979344, 1e-14);
  EXPECT_NEAR(equal_error_rate(curve), 0.38523644752018454, 1e-12);
}

TEST(Roc, PointsOnALineAreDropped) {
  const Scores made = fine_scores();
  const std::vector<RocPoint> curve = roc_curve(made.scores, made.same);
  const double expected[][2] = {
      {0, 0},        {0, 0.025},  {0, 0.375},  {0.05, 0.375}, {0.05, 0.4}, {0.1, 0.4}, {0.1, 0.625},
      {0.25, 0.625}, {0.25, 0.8}, {0.35, 0.8}, {0.35, 0.95},  {0.4, 0.95}, {0.4, 1},   {1, 1}};
  ASSERT_EQ(curve.size(), std::size(expected));
  for (std::size_t i = 0; i < curve.size(); ++i) {
    EXPECT_DOUBLE_EQ(curve[i].fpr, expected[i][0]) << i;
    EXPECT_DOUBLE_EQ(curve[i].tpr, expected[i][1]) << i;
  }
  EXPECT_EQ(roc_curve(made.scores, made.same, true).size(), 61U);
  EXPECT_NEAR(area_under(curve), 0.86, 1e-14);
  EXPECT_NEAR(area_under(roc_curve(made.scores, made.same, true)), 0.86, 1e-14);
}

TEST(Roc, TarIsThatOfTheNearestPoint) {
  const Scores tied = tied_scores();
  const std::vector<RocPoint> curve = roc_curve(tied.scores, tied.same);
  EXPECT_DOUBLE_EQ(tar_at_far(curve, 1e-3), 0.15789473684210525);
  EXPECT_DOUBLE_EQ(tar_at_far(curve, 0.05), 0.21804511278195488);
  EXPECT_DOUBLE_EQ(tar_at_far(curve, 0.3), 0.57894736842105265);
  const Scores fine = fine_scores();
  const std::vector<RocPoint> steps = roc_curve(fine.scores, fine.same);
  EXPECT_DOUBLE_EQ(tar_at_far(steps, 0.01), 0.375);
  EXPECT_DOUBLE_EQ(tar_at_far(steps, 0.025),
                   0.4);  // 0 and 0.05 are as near: the largest TPR of both
  EXPECT_DOUBLE_EQ(tar_at_far(steps, 0.1), 0.625);
}

TEST(Roc, SeparatedAndSwappedPairs) {
  const std::vector<RocPoint> right = roc_curve({4, 3, 2, 1}, {1, 1, 0, 0});
  EXPECT_EQ(area_under(right), 1);
  EXPECT_EQ(equal_error_rate(right), 0);
  const std::vector<RocPoint> wrong = roc_curve({4, 3, 2, 1}, {0, 0, 1, 1});
  EXPECT_EQ(area_under(wrong), 0);
  EXPECT_EQ(equal_error_rate(wrong), 1);
  const std::vector<RocPoint> equal = roc_curve({7, 7, 7, 7}, {0, 1, 0, 1});
  ASSERT_EQ(equal.size(), 2U);
  EXPECT_EQ(area_under(equal), 0.5);
  EXPECT_EQ(equal_error_rate(equal), 0.5);
}

TEST(Roc, OneKindOfPairsIsRefused) {
  EXPECT_THROW(roc_curve({1, 2}, {1, 1}), Error);
  EXPECT_THROW(roc_curve({1, 2}, {0, 0}), Error);
  EXPECT_THROW(roc_curve({}, {}), Error);
  EXPECT_THROW(roc_curve({1, 2, 3}, {0, 1}), Error);
  EXPECT_THROW(roc_curve({1, std::nan("")}, {0, 1}), Error);
}

}  // namespace
}  // namespace facet
