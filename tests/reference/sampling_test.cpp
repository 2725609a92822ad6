#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/reference/evaluate_op.h"

// grid_sample and roi_align; numbers by hand. ONNX's backend suite has more of them.
namespace facet::testing {
namespace {

using Numbers = std::vector<double>;

/// [1 2; 3 4] at one point (x, y).
double at(double x, double y, const char* mode, const char* padding, bool align_corners) {
  return evaluate_op("grid_sample",
                     {tensor({1, 1, 2, 2}, {1, 2, 3, 4}), tensor({1, 1, 1, 2}, {x, y})},
                     {{"mode", std::string(mode)},
                      {"padding", std::string(padding)},
                      {"align_corners", align_corners}})
      .at(0);
}

TEST(GridSample, LinearBetweenElements) {
  EXPECT_DOUBLE_EQ(at(0, 0, "linear", "zeros", true), 2.5);
  EXPECT_DOUBLE_EQ(at(0.5, -1, "linear", "zeros", true), 1.75);
  EXPECT_DOUBLE_EQ(at(-0.5, -0.5, "linear", "zeros", false), 1);  // the middle of element (0, 0)
  EXPECT_DOUBLE_EQ(at(-1, -1, "linear", "zeros", true), 1);
}

TEST(GridSample, PaddingDecidesWhatLiesOutside) {
  EXPECT_DOUBLE_EQ(at(-1, -1, "linear", "zeros", false), 0.25);
  EXPECT_DOUBLE_EQ(at(-3, 1, "linear", "zeros", false), 0);
  EXPECT_DOUBLE_EQ(at(-3, 9, "linear", "border", false), 3);
  EXPECT_DOUBLE_EQ(at(-1.5, -0.5, "linear", "reflection", false), 1);
  EXPECT_DOUBLE_EQ(at(-2, -0.5, "linear", "reflection", false), 1.5);  // the mirror image of 0
  EXPECT_DOUBLE_EQ(at(3, -1, "linear", "reflection", true), 1);        // there and back again
}

TEST(GridSample, NearestAndCubic) {
  EXPECT_DOUBLE_EQ(at(0.2, 0.2, "nearest", "zeros", false), 4);
  EXPECT_DOUBLE_EQ(at(1, -1, "cubic", "border", true), 2);  // at an element it is that element
  // Halfway the weights are -3/32, 19/32, 19/32, -3/32.
  EXPECT_DOUBLE_EQ(at(0, -1, "cubic", "border", true), 1.5);
  EXPECT_DOUBLE_EQ(at(0, -1, "cubic", "zeros", true), 19.0 / 32 * 3);
}

/// No index is computed from them.
TEST(GridSample, PointsThatAreNoNumbersReadZero) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const char* mode : {"linear", "nearest", "cubic"}) {
    for (const char* padding : {"zeros", "reflection"}) {
      EXPECT_EQ(at(infinity, 0, mode, padding, true), 0) << mode << padding;
      EXPECT_EQ(at(0, nan, mode, padding, false), 0) << mode << padding;
    }
    EXPECT_EQ(at(1e300, 0, mode, "zeros", true), 0);
  }
}

/// Element (y, x) of a 4 x 5 image is x + 10 y, which linear interpolation gives back.
HostTensor ramp() {
  HostTensor image(DType::f64, {1, 1, 4, 5});
  for (std::int64_t i = 0; i < 20; ++i) {
    image.as_mutable<double>()[i] = static_cast<double>(i % 5 + i / 5 * 10);
  }
  return image;
}

Numbers boxes(const Numbers& edges, Attributes attributes, double image = 0) {
  attributes.set("output_height", std::int64_t{1});
  attributes.set("output_width", std::int64_t{2});
  return evaluate_op("roi_align",
                     {ramp(), tensor({1, 4}, edges), tensor({1}, {image}).cast(DType::i64)},
                     attributes)
      .to_doubles();
}

TEST(RoiAlign, AveragesThePointsOfEachBin) {
  // Points x 0.5 ... 2.5 in two bins: their middles are 1 and 2; y runs from 0.5 to 1.5.
  EXPECT_EQ(boxes({1, 1, 3, 2}, {}), (Numbers{11, 12}));
  EXPECT_EQ(boxes({1, 1, 3, 2}, {{"sampling_ratio", std::int64_t{4}}}), (Numbers{11, 12}));
  EXPECT_EQ(boxes({2, 2, 6, 4}, {{"spatial_scale", 0.5}}), (Numbers{11, 12}));
}

TEST(RoiAlign, OldBoxesAreAtLeastOneWide) {
  const Attributes old{{"half_pixel", false}, {"sampling_ratio", std::int64_t{1}}};
  EXPECT_EQ(boxes({1, 1, 1, 1}, old), (Numbers{16.25, 16.75}));
}

TEST(RoiAlign, MaximumOfWeightedElements) {
  const Attributes largest{{"mode", std::string("max")}, {"sampling_ratio", std::int64_t{1}}};
  // At (1, 1) and (1, 2) exactly, where one element has all the weight.
  EXPECT_EQ(boxes({1, 1, 3, 2}, largest), (Numbers{11, 12}));
}

TEST(RoiAlign, ABoxOfNoImageIsZero) {
  EXPECT_EQ(boxes({1, 1, 3, 2}, {}, 1), (Numbers{0, 0}));
  EXPECT_EQ(boxes({1, 1, 3, 2}, {}, -1), (Numbers{0, 0}));
}

/// Neither hangs nor reads outside.
TEST(RoiAlign, BoxesBeyondAllBounds) {
  const double huge = 1e300, nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(boxes({0, 0, huge, huge}, {}), (Numbers{0, 0}));
  EXPECT_EQ(boxes({nan, 0, 1, 1}, {{"sampling_ratio", std::int64_t{2}}}), (Numbers{0, 0}));
  EXPECT_EQ(boxes({3, 3, 1, 1}, {}), (Numbers{0, 0}));
}

}  // namespace
}  // namespace facet::testing
