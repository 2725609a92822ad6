#include <gtest/gtest.h>

#include <cmath>

#include "tests/reference/evaluate_op.h"

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;
using Extents = std::vector<std::int64_t>;

const HostTensor kX = tensor({2, 3, 2}, {1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6});

TEST(Reduce, OverTheMiddleAxis) {
  const Attributes axes{{"axes", Ints{1}}};
  const HostTensor sum = evaluate_op("reduce_sum", {kX}, axes);
  EXPECT_EQ(sum.shape(), (Extents{2, 1, 2}));
  EXPECT_EQ(sum.to_doubles(), (Numbers{9, 12, -9, -12}));
  EXPECT_EQ(evaluate_op("reduce_mean", {kX}, axes).to_doubles(), (Numbers{3, 4, -3, -4}));
  EXPECT_EQ(evaluate_op("reduce_max", {kX}, axes).to_doubles(), (Numbers{5, 6, -1, -2}));
}

TEST(Reduce, OverOuterAndInnerAxesWithoutKeepingThem) {
  const HostTensor y =
      evaluate_op("reduce_sum", {kX}, {{"axes", Ints{0, -1}}, {"keepdims", false}});
  EXPECT_EQ(y.shape(), (Extents{3}));
  EXPECT_EQ(y.to_doubles(), (Numbers{0, 0, 0}));
  EXPECT_EQ(
      evaluate_op("reduce_max", {kX}, {{"axes", Ints{0, -1}}, {"keepdims", false}}).to_doubles(),
      (Numbers{2, 4, 6}));
}

TEST(Reduce, OverEverything) {
  const HostTensor y = evaluate_op("reduce_mean", {tensor({2, 2}, {1, 2, 3, 6})},
                                   {{"axes", Ints{0, 1}}, {"keepdims", false}});
  EXPECT_EQ(y.shape(), Extents{});
  EXPECT_EQ(y.at(0), 3);
}

TEST(Softmax, SumsToOneAlongItsAxis) {
  // Along axis 0: columns (0, ln 3) and (ln 2, 0).
  const HostTensor x = tensor({2, 2}, {0, std::log(2.0), std::log(3.0), 0});
  const HostTensor columns = evaluate_op("softmax", {x}, {{"axis", std::int64_t{0}}});
  const Numbers expected_columns{0.25, 2.0 / 3, 0.75, 1.0 / 3};
  const HostTensor rows = evaluate_op("softmax", {x});
  const Numbers expected_rows{1.0 / 3, 2.0 / 3, 0.75, 0.25};
  for (std::int64_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(columns.at(i), expected_columns[static_cast<std::size_t>(i)], 1e-15);
    EXPECT_NEAR(rows.at(i), expected_rows[static_cast<std::size_t>(i)], 1e-15);
  }
}

TEST(Softmax, LargeValuesDoNotOverflow) {
  const HostTensor y = evaluate_op("softmax", {tensor({1, 2}, {1e4, 1e4 - std::log(4.0)})});
  EXPECT_NEAR(y.at(0), 0.8, 1e-12);
  EXPECT_NEAR(y.at(1), 0.2, 1e-12);
}

Attributes pooling(Ints kernel, Ints strides, Ints pads) {
  return {
      {"kernel", std::move(kernel)}, {"strides", std::move(strides)}, {"pads", std::move(pads)}};
}

// 1 2 3
// 4 5 6
// 7 8 9
const HostTensor kImage = tensor({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
const HostTensor kNegative = tensor({1, 1, 3, 3}, {-1, -2, -3, -4, -5, -6, -7, -8, -9});

TEST(Pool, DropsThePartialWindow) {
  const HostTensor y = evaluate_op("max_pool", {kImage}, pooling({2, 2}, {2, 2}, {0, 0, 0, 0}));
  EXPECT_EQ(y.shape(), (Extents{1, 1, 1, 1}));
  EXPECT_EQ(y.at(0), 5);
}

TEST(Pool, PaddingNeverWinsTheMaximum) {
  const HostTensor y = evaluate_op("max_pool", {kNegative}, pooling({2, 2}, {2, 2}, {1, 1, 0, 0}));
  EXPECT_EQ(y.to_doubles(), (Numbers{-1, -2, -4, -5}));
}

TEST(Pool, PaddingCountsAsZerosInTheMean) {
  const HostTensor y = evaluate_op("avg_pool", {kImage}, pooling({2, 2}, {2, 2}, {1, 1, 0, 0}));
  EXPECT_EQ(y.to_doubles(), (Numbers{0.25, 1.25, 2.75, 7}));
}

TEST(Pool, UnequalKernelStridesAndPads) {
  // 3 x 2 windows, one row of padding on top, one column on the right, strides 1 and 2.
  const Attributes attributes = pooling({3, 2}, {1, 2}, {1, 0, 0, 1});
  EXPECT_EQ(evaluate_op("max_pool", {kImage}, attributes).to_doubles(), (Numbers{5, 6, 8, 9}));
  EXPECT_EQ(evaluate_op("avg_pool", {kImage}, attributes).to_doubles(), (Numbers{2, 1.5, 4.5, 3}));
}

TEST(Pool, ChannelsAndImagesStayApart) {
  const HostTensor x = tensor({2, 2, 1, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(evaluate_op("avg_pool", {x}, pooling({1, 2}, {1, 1}, {0, 0, 0, 0})).to_doubles(),
            (Numbers{1.5, 3.5, 5.5, 7.5}));
}

}  // namespace
}  // namespace facet::testing
