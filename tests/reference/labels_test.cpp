#include <gtest/gtest.h>

#include <cmath>

#include "tests/reference/evaluate_op.h"

// Label ops with numbers worked out by hand. Labels -1 and C stand for rows without target.

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;

HostTensor labels(const Numbers& values) {
  return tensor({static_cast<std::int64_t>(values.size())}, values).cast(DType::i64);
}

void expect_near(const HostTensor& actual, const Numbers& expected, double tolerance = 1e-14) {
  ASSERT_EQ(actual.element_count(), static_cast<std::int64_t>(expected.size()));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual.at(static_cast<std::int64_t>(i)), expected[i], tolerance) << "element " << i;
  }
}

// Softmax of both rows: (1/6, 1/3, 1/2); log-sum-exp ln 6 and ln 6 + 1000.
const double kLn2 = std::log(2.0), kLn3 = std::log(3.0), kLn6 = std::log(6.0);
const HostTensor kLogits = tensor({2, 3}, {0, kLn2, kLn3, 1000, 1000 + kLn2, 1000 + kLn3});

TEST(CrossEntropy, IsMinusTheLogProbabilityOfTheLabel) {
  expect_near(evaluate_op("cross_entropy", {kLogits, labels({2, 0})}), {kLn2, kLn6}, 1e-12);
}

TEST(CrossEntropy, SmoothingMixesInTheMeanLogit) {
  const HostTensor y =
      evaluate_op("cross_entropy", {kLogits, labels({2, 0})}, {{"label_smoothing", 0.3}});
  // ln 6 - (0.7 ln 3 + 0.1 (ln 2 + ln 3)), ln 6 - 0.1 ln 6.
  expect_near(y, {0.9 * kLn6 - 0.7 * kLn3, 0.9 * kLn6}, 1e-12);
}

TEST(CrossEntropy, ARowWithoutTargetCostsNothing) {
  expect_near(evaluate_op("cross_entropy", {kLogits, labels({-1, 3})}), {0, 0});
}

TEST(CrossEntropyBwd, IsProbabilityMinusTarget) {
  const HostTensor dloss = tensor({2}, {1, 6});
  const HostTensor total = tensor({2}, {kLn6, 1000 + kLn6});
  expect_near(evaluate_op("cross_entropy_bwd", {dloss, kLogits, labels({2, 0}), total}),
              {1.0 / 6, 1.0 / 3, -0.5, -5, 2, 3}, 1e-11);
  expect_near(evaluate_op("cross_entropy_bwd", {dloss, kLogits, labels({7, 0}), total},
                          {{"label_smoothing", 0.3}}),
              {0, 0, 0, 1 - 4.8, 2 - 0.6, 3 - 0.6}, 1e-11);
}

const HostTensor kX = tensor({4, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
const HostTensor kY = labels({2, -1, 3, 0});

TEST(Pick, TakesTheColumnOfTheLabel) { expect_near(evaluate_op("pick", {kX, kY}), {3, 0, 0, 10}); }

TEST(Pick, BackwardPutsItBack) {
  const HostTensor dx = evaluate_op("pick_bwd", {tensor({4, 1}, {1, 2, 3, 4}), kY},
                                    {{"classes", std::int64_t{3}}});
  expect_near(dx, {0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 0, 0});
}

TEST(Place, ReplacesTheColumnOfTheLabelAndLeavesTheOperandAlone) {
  const HostTensor y = evaluate_op("place", {kX, kY, tensor({4, 1}, {-1, -2, -3, -4})});
  expect_near(y, {1, 2, -1, 4, 5, 6, 7, 8, 9, -4, 11, 12});
  EXPECT_EQ(kX.at(2), 3);
}

TEST(GatherRows, CopiesTheRowOfTheLabel) {
  const HostTensor table = tensor({3, 2}, {1, 2, 3, 4, 5, 6});
  expect_near(evaluate_op("gather_rows", {table, kY}), {5, 6, 0, 0, 0, 0, 1, 2});
}

TEST(ScatterAddRows, SumsRowsOfOneLabel) {
  const HostTensor y =
      evaluate_op("scatter_add_rows", {kX, labels({1, 1, -1, 0})}, {{"rows", std::int64_t{3}}});
  expect_near(y, {10, 11, 12, 5, 7, 9, 0, 0, 0});
}

}  // namespace
}  // namespace facet::testing
