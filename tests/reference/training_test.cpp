#include <gtest/gtest.h>

#include <cmath>

#include "ir/dropout.h"
#include "tests/reference/evaluate_op.h"

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;

TEST(Greater, IsOneWhereTheFirstIsStrictlyLarger) {
  const HostTensor a = tensor({2, 2}, {1, 2, -3, std::nan("")});
  EXPECT_EQ(evaluate_op("greater", {a, tensor({2}, {1, 1})}).to_doubles(), (Numbers{0, 1, 0, 0}));
}

TEST(Where, TakesTheFirstWhereTheConditionIsNotZero) {
  const HostTensor condition = tensor({2, 1}, {0, -0.5});
  EXPECT_EQ(evaluate_op("where", {condition, tensor({2}, {1, 2}), tensor({}, {9})}).to_doubles(),
            (Numbers{9, 9, 1, 2}));
}

TEST(Where, ANaNThatIsNotTakenDoesNotSpread) {
  const HostTensor y = evaluate_op("where", {tensor({2}, {0, 1}), tensor({2}, {std::nan(""), 1}),
                                             tensor({2}, {3, std::nan("")})});
  EXPECT_EQ(y.to_doubles(), (Numbers{3, 1}));
}

TEST(Elementwise, ProgramsHaveThemToo) {
  const HostTensor x = tensor({3}, {-1, 0, 2});
  EXPECT_EQ(evaluate_op("elementwise", {x}, {{"program", Strings{"greater 0 #0", "where 1 0 #-7"}}})
                .to_doubles(),
            (Numbers{-7, -7, 2}));
}

TEST(StopGradient, IsItsOperand) {
  const HostTensor x = tensor({2}, {1, 2});
  EXPECT_EQ(evaluate_op("stop_gradient", {x}).to_doubles(), (Numbers{1, 2}));
  EXPECT_EQ(evaluate_op("dropout", {x}, {{"rate", 0.5}}).to_doubles(), (Numbers{1, 2}));
  EXPECT_EQ(evaluate_op("straight_through", {x, tensor({2}, {5, 6})}).to_doubles(),
            (Numbers{1, 2}));
}

TEST(Expand, RepeatsAxesOfExtentOne) {
  const HostTensor y = evaluate_op("expand", {tensor({2, 1}, {1, 2})}, {{"shape", Ints{2, 3}}});
  EXPECT_EQ(y.to_doubles(), (Numbers{1, 1, 1, 2, 2, 2}));
}

HostTensor dropped(double step, std::int64_t seed, double rate = 0.25, std::int64_t count = 20000) {
  const HostTensor ones = tensor({count}, Numbers(static_cast<std::size_t>(count), 1));
  return evaluate_op("dropout_train", {ones, tensor({1}, {step}).cast(DType::f32)},
                     {{"rate", rate}, {"seed", seed}});
}

TEST(Dropout, KeepsTheRestOfTheRateAndItsMean) {
  double sum = 0;
  for (const double value : dropped(3, 7).to_doubles()) {
    ASSERT_TRUE(value == 0 || value == 1 / 0.75) << value;
    sum += value;
  }
  // The deviation of the mean of 20000 draws is sqrt(0.25 * 0.75 / 20000) / 0.75 = 0.0041.
  EXPECT_NEAR(sum / 20000, 1, 0.02);
  EXPECT_EQ(dropped(3, 7, 0, 100).to_doubles(), Numbers(100, 1));
}

TEST(Dropout, SeedAndStepAndPlaceDecideTheMask) {
  EXPECT_EQ(dropped(3, 7).to_doubles(), dropped(3, 7).to_doubles());
  const auto agreeing = [](const HostTensor& a, const HostTensor& b, std::int64_t shift) {
    int same = 0;
    for (std::int64_t i = 0; i + shift < a.element_count(); ++i) same += a.at(i) == b.at(i + shift);
    return same / static_cast<double>(a.element_count());
  };
  // Independent masks agree in 0.75^2 + 0.25^2 = 0.625 of the places, give or take 0.0034.
  EXPECT_NEAR(agreeing(dropped(3, 7), dropped(4, 7), 0), 0.625, 0.02);
  EXPECT_NEAR(agreeing(dropped(3, 7), dropped(3, 8), 0), 0.625, 0.02);
  EXPECT_NEAR(agreeing(dropped(3, 7), dropped(3, 7), 1), 0.625, 0.02);
}

/// Numbers of another implementation of the formula: masks do not change from release to release.
TEST(Dropout, TheMaskIsFixed) {
  std::string kept;
  const DropoutMask mask(7, 3, 0.5);
  for (std::uint64_t i = 0; i < 32; ++i) kept += mask.keeps(i) ? '1' : '0';
  EXPECT_EQ(kept, "11111101100111001111101010001101");
}

}  // namespace
}  // namespace facet::testing
