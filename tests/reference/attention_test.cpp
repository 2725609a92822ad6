#include <gtest/gtest.h>

#include "ir/error.h"
#include "tests/reference/evaluate_op.h"

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;
using Extents = std::vector<std::int64_t>;

const Attributes kColumnMinusRow{{"distance", std::string("j-i")}};
const Attributes kRowMinusColumn{{"distance", std::string("i-j")}};

TEST(Pad, ZerosOnBothSidesOfAnAxis) {
  const HostTensor x = tensor({2, 2}, {1, 2, 3, 4});
  const HostTensor rows = evaluate_op(
      "pad", {x},
      {{"axis", std::int64_t{0}}, {"before", std::int64_t{1}}, {"after", std::int64_t{2}}});
  EXPECT_EQ(rows.shape(), (Extents{5, 2}));
  EXPECT_EQ(rows.to_doubles(), (Numbers{0, 0, 1, 2, 3, 4, 0, 0, 0, 0}));
  const HostTensor columns =
      evaluate_op("pad", {x}, {{"axis", std::int64_t{-1}}, {"before", std::int64_t{2}}});
  EXPECT_EQ(columns.to_doubles(), (Numbers{0, 0, 1, 2, 0, 0, 3, 4}));
  EXPECT_THROW(evaluate_op("pad", {x}, {{"axis", std::int64_t{0}}, {"before", std::int64_t{-1}}}),
               Error);
}

TEST(Reverse, OneAxisOnly) {
  const HostTensor x = tensor({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(evaluate_op("reverse", {x}, {{"axis", std::int64_t{1}}}).to_doubles(),
            (Numbers{3, 2, 1, 6, 5, 4}));
  EXPECT_EQ(evaluate_op("reverse", {x}, {{"axis", std::int64_t{0}}}).to_doubles(),
            (Numbers{4, 5, 6, 1, 2, 3}));
}

// Three tokens have distances -2..2, at places 0..4.
TEST(Skew, ReadsThePlaceOfTheDistance) {
  const HostTensor x = tensor({3, 5}, {0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24});
  EXPECT_EQ(evaluate_op("skew", {x}, kColumnMinusRow).to_doubles(),
            (Numbers{2, 3, 4, 11, 12, 13, 20, 21, 22}));
  EXPECT_EQ(evaluate_op("skew", {x}, kRowMinusColumn).to_doubles(),
            (Numbers{2, 1, 0, 13, 12, 11, 24, 23, 22}));
}

TEST(Skew, QueriesAndKeysMayDifferInNumber) {
  // Two rows, three columns: distances j-i are -1..2.
  const HostTensor x = tensor({2, 4}, {0, 1, 2, 3, 10, 11, 12, 13});
  const HostTensor y = evaluate_op("skew", {x}, kColumnMinusRow);
  EXPECT_EQ(y.shape(), (Extents{2, 3}));
  EXPECT_EQ(y.to_doubles(), (Numbers{1, 2, 3, 10, 11, 12}));
  // i-j is -2..1.
  EXPECT_EQ(evaluate_op("skew", {x}, kRowMinusColumn).to_doubles(),
            (Numbers{2, 1, 0, 13, 12, 11}));
}

TEST(Skew, TakesEnoughColumnsAndAKnownDistance) {
  EXPECT_THROW(evaluate_op("skew", {tensor({3, 2}, Numbers(6))}, kColumnMinusRow), Error);
  EXPECT_THROW(evaluate_op("skew", {tensor({3}, Numbers(3))}, kColumnMinusRow), Error);
  EXPECT_THROW(evaluate_op("skew", {tensor({2, 3}, Numbers(6))}, {{"distance", std::string("i+j")}}),
               Error);
}

TEST(Unskew, PutsPairsAtTheirDistance) {
  const HostTensor x = tensor({2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(evaluate_op("unskew", {x}, kColumnMinusRow).to_doubles(), (Numbers{0, 1, 2, 3, 4, 0}));
  EXPECT_EQ(evaluate_op("unskew", {x}, kRowMinusColumn).to_doubles(), (Numbers{2, 1, 0, 0, 4, 3}));
}

/// <skew(a), b> = <a, unskew(b)> for all a and b.
TEST(Unskew, IsTheAdjointOfSkew) {
  Numbers a, b;
  for (int i = 0; i < 2 * 3 * 6; ++i) a.push_back(i * i % 17 - 8);
  for (int i = 0; i < 2 * 3 * 4; ++i) b.push_back(i * 5 % 11 - 4);
  const HostTensor x = tensor({2, 3, 6}, a);
  const HostTensor y = tensor({2, 3, 4}, b);
  for (const Attributes& distance : {kColumnMinusRow, kRowMinusColumn}) {
    const Numbers skewed = evaluate_op("skew", {x}, distance).to_doubles();
    const Numbers unskewed = evaluate_op("unskew", {y}, distance).to_doubles();
    double left = 0, right = 0;
    for (std::size_t i = 0; i < b.size(); ++i) left += skewed[i] * b[i];
    for (std::size_t i = 0; i < a.size(); ++i) right += unskewed[i] * a[i];
    EXPECT_EQ(left, right);
    EXPECT_NE(left, 0);
  }
}

}  // namespace
}  // namespace facet::testing
