// Volumes, transposed convolution, dilated maxima, and windows moved by offsets, on numbers by
// hand.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/ir/error_of.h"
#include "tests/reference/evaluate_op.h"

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;
using Extents = std::vector<std::int64_t>;

HostTensor counting(Extents shape) {
  HostTensor x(DType::f64, std::move(shape));
  std::iota(x.as_mutable<double>(), x.as_mutable<double>() + x.element_count(), 0.0);
  return x;
}

TEST(Volume, SumsOverItsWindow) {
  const HostTensor x = counting({1, 1, 2, 2, 3});
  const HostTensor ones = tensor({1, 1, 2, 2, 2}, Numbers(8, 1));
  const HostTensor y = evaluate_op("conv3d", {x, ones});
  EXPECT_EQ(y.shape(), (Extents{1, 1, 1, 1, 2}));
  EXPECT_EQ(y.to_doubles(), (Numbers{40, 48}));  // 0 + 1 + 3 + 4 + 6 + 7 + 9 + 10
}

TEST(Volume, OneDeepIsAnImage) {
  const HostTensor x = counting({2, 4, 1, 5, 6});
  const HostTensor w = counting({4, 2, 1, 3, 2});
  const HostTensor image = evaluate_op("conv", {x.reshaped({2, 4, 5, 6}), w.reshaped({4, 2, 3, 2})},
                                       {{"strides", Ints{2, 1}},
                                        {"pads", Ints{1, 0, 1, 1}},
                                        {"dilations", Ints{1, 2}},
                                        {"groups", std::int64_t{2}}});
  const HostTensor volume = evaluate_op("conv3d", {x, w},
                                        {{"strides", Ints{1, 2, 1}},
                                         {"pads", Ints{0, 1, 0, 0, 1, 1}},
                                         {"dilations", Ints{1, 1, 2}},
                                         {"groups", std::int64_t{2}}});
  EXPECT_EQ(volume.to_doubles(), image.to_doubles());
}

TEST(ConvTranspose, SpreadsEveryElement) {
  const HostTensor x = tensor({1, 1, 1, 2}, {1, 10});
  const HostTensor w = tensor({1, 1, 1, 3}, {1, 2, 3});
  EXPECT_EQ(evaluate_op("conv_transpose", {x, w}).to_doubles(), (Numbers{1, 12, 23, 30}));
  const HostTensor wide = evaluate_op(
      "conv_transpose", {x, w},
      {{"strides", Ints{1, 2}}, {"pads", Ints{0, 1, 0, 0}}, {"output_padding", Ints{0, 3}}});
  EXPECT_EQ(wide.to_doubles(), (Numbers{2, 13, 20, 30, 0, 0, 0}));
}

TEST(ConvTranspose, KeepsGroupsApart) {
  const HostTensor x = tensor({1, 2, 1, 1}, {1, 10});
  const HostTensor w = tensor({2, 2, 1, 1}, {1, 2, 3, 4});
  EXPECT_EQ(evaluate_op("conv_transpose", {x, w}).to_doubles(), (Numbers{31, 42}));
  EXPECT_EQ(evaluate_op("conv_transpose", {x, w}, {{"groups", std::int64_t{2}}}).to_doubles(),
            (Numbers{1, 2, 30, 40}));
}

const Attributes kDilated{{"kernel", Ints{1, 2}},
                          {"strides", Ints{1, 1}},
                          {"pads", Ints{0, 2, 0, 2}},
                          {"dilations", Ints{1, 3}}};

TEST(DilatedMaximum, ReadsEveryThirdElement) {
  const HostTensor x = tensor({1, 1, 1, 5}, {5, 1, 4, 2, 3});
  EXPECT_EQ(evaluate_op("max_pool_dilated", {x}, kDilated).to_doubles(),
            (Numbers{1, 4, 5, 3, 4, 2}));
  EXPECT_EQ(evaluate_op("max_pool_indices", {x}, kDilated).to_doubles(),
            (Numbers{1, 2, 0, 4, 2, 3}));
}

TEST(DilatedMaximum, OfPaddingAloneIsNothing) {
  const HostTensor x = tensor({1, 1, 1, 1}, {7});
  Attributes window = kDilated;
  window.set("dilations", Ints{1, 2});
  window.set("pads", Ints{0, 2, 0, 2});
  const HostTensor y = evaluate_op("max_pool_dilated", {x}, window);
  EXPECT_EQ(y.to_doubles(), (Numbers{7, -std::numeric_limits<double>::infinity(), 7}));
  EXPECT_EQ(evaluate_op("max_pool_indices", {x}, window).to_doubles(), (Numbers{0, -1, 0}));
}

TEST(DilatedMaximum, IndicesCountBothWays) {
  const HostTensor x = counting({1, 2, 2, 3});
  Attributes window{{"kernel", Ints{2, 2}},
                    {"strides", Ints{1, 1}},
                    {"pads", Ints{0, 0, 0, 0}},
                    {"dilations", Ints{1, 1}}};
  EXPECT_EQ(evaluate_op("max_pool_indices", {x}, window).to_doubles(), (Numbers{4, 5, 10, 11}));
  window.set("column_major", true);  // row 1 of column 1 is 1 * 2 + 1
  EXPECT_EQ(evaluate_op("max_pool_indices", {x}, window).to_doubles(), (Numbers{3, 5, 9, 11}));
}

TEST(DeformSample, MovesEachTap) {
  const HostTensor x = counting({1, 1, 3, 3});
  const Attributes window{{"kernel", Ints{1, 1}}};
  HostTensor offset(DType::f64, {1, 2, 3, 3});
  EXPECT_EQ(evaluate_op("deform_sample", {x, offset}, window).to_doubles(), x.to_doubles());
  double* rows = offset.as_mutable<double>();
  double* columns = rows + 9;
  rows[4] = 0.5;      // between 4 and 7
  columns[3] = 0.25;  // a quarter of the way from 3 to 4
  rows[0] = -0.5;     // half outside
  columns[8] = 1;     // outside
  EXPECT_EQ(evaluate_op("deform_sample", {x, offset}, window).to_doubles(),
            (Numbers{0, 1, 2, 3.25, 5.5, 5, 6, 7, 0}));
  rows[1] = -0.5;
  rows[2] = 1e300;
  EXPECT_EQ(evaluate_op("deform_sample", {x, offset}, window).to_doubles(),
            (Numbers{0, 0.5, 0, 3.25, 5.5, 5, 6, 7, 0}));
}

TEST(Resize, OutsideHasAValueOfItsOwn) {
  const HostTensor x = tensor({1, 1, 1, 3}, {1, 2, 3});
  const HostTensor y = evaluate_op("resize", {x},
                                   {{"sizes", Ints{0, 0, 0, 3}},
                                    {"mode", std::string("linear")},
                                    {"coordinates", std::string("tf_crop_and_resize")},
                                    {"roi", Doubles{0, 0, 0, 0.5, 1, 1, 1, 1.5}},
                                    {"extrapolation", 9.0}});
  EXPECT_EQ(y.to_doubles(), (Numbers{2, 3, 9}));
}

TEST(Resize, RefusesWhatItCannotDo) {
  const HostTensor x = tensor({1, 1, 1, 3}, {1, 2, 3});
  const auto message = [&](Attributes attributes) {
    return test::error_of([&] { evaluate_op("resize", {x}, attributes); });
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(message({{"sizes", Ints{0, 3}}}), HasSubstr("an extent for every axis"));
  EXPECT_THAT(message({{"sizes", Ints{0, 0, 0, 6}}, {"mode", std::string("area")}}),
              HasSubstr("no mode 'area', only nearest linear cubic"));
  EXPECT_THAT(message({{"sizes", Ints{0, 0, 0, 6}}, {"scales", Doubles{1, 1, 1, 5}}}),
              HasSubstr("from 3 to 6 elements is no scaling by 5"));
}

}  // namespace
}  // namespace facet::testing
