#include <gtest/gtest.h>

#include "tests/reference/evaluate_op.h"

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;
using Extents = std::vector<std::int64_t>;

const HostTensor kX = tensor({2, 3}, {1, 2, 3, 4, 5, 6});

TEST(Shape, ReshapeKeepsRowMajorOrder) {
  const HostTensor y = evaluate_op("reshape", {kX}, {{"shape", Ints{3, -1}}});
  EXPECT_EQ(y.shape(), (Extents{3, 2}));
  EXPECT_EQ(y.to_doubles(), (Numbers{1, 2, 3, 4, 5, 6}));
}

TEST(Shape, Transpose) {
  EXPECT_EQ(evaluate_op("transpose", {kX}, {{"permutation", Ints{1, 0}}}).to_doubles(),
            (Numbers{1, 4, 2, 5, 3, 6}));
}

TEST(Shape, TransposeOfThreeAxesIsNotItsInverse) {
  const HostTensor x = tensor({1, 2, 3}, {1, 2, 3, 4, 5, 6});
  const HostTensor y = evaluate_op("transpose", {x}, {{"permutation", Ints{2, 0, 1}}});
  EXPECT_EQ(y.shape(), (Extents{3, 1, 2}));  // y[k][i][j] = x[i][j][k]
  EXPECT_EQ(y.to_doubles(), (Numbers{1, 4, 2, 5, 3, 6}));
}

TEST(Shape, ConcatAlongEachAxis) {
  const HostTensor column = tensor({2, 1}, {7, 8});
  EXPECT_EQ(evaluate_op("concat", {kX, column}, {{"axis", std::int64_t{-1}}}).to_doubles(),
            (Numbers{1, 2, 3, 7, 4, 5, 6, 8}));
  const HostTensor row = tensor({1, 3}, {7, 8, 9});
  EXPECT_EQ(evaluate_op("concat", {row, kX}, {{"axis", std::int64_t{0}}}).to_doubles(),
            (Numbers{7, 8, 9, 1, 2, 3, 4, 5, 6}));
}

TEST(Shape, SliceAlongEachAxis) {
  const auto slice = [](std::int64_t axis, std::int64_t start, std::int64_t end) {
    return evaluate_op("slice", {kX}, {{"axis", axis}, {"start", start}, {"end", end}})
        .to_doubles();
  };
  EXPECT_EQ(slice(1, 1, 3), (Numbers{2, 3, 5, 6}));
  EXPECT_EQ(slice(0, 1, 2), (Numbers{4, 5, 6}));
}

TEST(Shape, CastRoundsOnlyToIntegers) {
  const HostTensor x = tensor({3}, {1.0 / 3, -2.7, 300.7});
  const auto cast = [&](const char* dtype) {
    return evaluate_op("cast", {x}, {{"dtype", std::string(dtype)}}).to_doubles();
  };
  EXPECT_EQ(cast("bf16"), (Numbers{1.0 / 3, -2.7, 300.7}));
  EXPECT_EQ(cast("i32"), (Numbers{0, -2, 300}));
  EXPECT_EQ(cast("i8"), (Numbers{0, -2, 127}));
  EXPECT_EQ(cast("bool"), (Numbers{1, 1, 1}));
}

TEST(Shape, ReorderIsTheSameValue) {
  const HostTensor x = tensor({1, 2, 1, 2}, {1, 2, 3, 4});
  EXPECT_EQ(evaluate_op("reorder", {x}, {{"layout", std::string("acdb")}}).to_doubles(),
            (Numbers{1, 2, 3, 4}));
}

}  // namespace
}  // namespace facet::testing
