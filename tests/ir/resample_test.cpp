#include "ir/resample.h"

#include <gtest/gtest.h>

#include <numeric>

#include "ir/op.h"

namespace facet {
namespace {

/// The attributes of a resize of one axis, defaults filled in.
Attributes attributes_of(Attributes given) {
  for (const AttributeSpec& spec : find_op("resize").attributes) {
    if (!given.has(spec.name)) given.set(std::string(spec.name), spec.default_value);
  }
  return given;
}

Ints nearest(const char* coordinates, const char* rounding, std::int64_t in, std::int64_t out) {
  return resample_table(attributes_of({{"coordinates", std::string(coordinates)},
                                       {"rounding", std::string(rounding)}}),
                        0, in, out)
      .index;
}

TEST(ResampleTable, NearestRoundsAsAsked) {
  // Half a pixel: element o lies at (o + 0.5) / 2 - 0.5 = -0.25, 0.25, 0.75, ...
  EXPECT_EQ(nearest("half_pixel", "round_prefer_floor", 3, 6), (Ints{0, 0, 1, 1, 2, 2}));
  // Without: 0, 0.5, 1, 1.5, ...
  EXPECT_EQ(nearest("asymmetric", "floor", 3, 6), (Ints{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(nearest("asymmetric", "ceil", 3, 6), (Ints{0, 1, 1, 2, 2, 2}));
  EXPECT_EQ(nearest("asymmetric", "round_prefer_floor", 3, 6), (Ints{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(nearest("asymmetric", "round_prefer_ceil", 3, 6), (Ints{0, 1, 1, 2, 2, 2}));
  // First on first, last on last: 0, 1/2, 1, 3/2, 2.
  EXPECT_EQ(nearest("align_corners", "floor", 3, 5), (Ints{0, 0, 1, 1, 2}));
}

TEST(ResampleTable, LinearWeightsByDistance) {
  const ResampleTable table =
      resample_table(attributes_of({{"mode", std::string("linear")}}), 0, 2, 4);
  // At -0.25 (the edge), 0.25, 0.75, 1.25 (the edge).
  EXPECT_EQ(table.first, (Ints{0, 1, 3, 5, 6}));
  EXPECT_EQ(table.index, (Ints{0, 0, 1, 0, 1, 1}));
  EXPECT_EQ(table.weight, (Doubles{1, 0.75, 0.25, 0.25, 0.75, 1}));
}

TEST(ResampleTable, AntialiasingReadsAllItShrinks) {
  const ResampleTable table = resample_table(
      attributes_of({{"mode", std::string("linear")}, {"antialias", true}}), 0, 8, 2);
  // A triangle of half width 4 around 1.5: 1 - |i - 1.5| / 4 over its sum, mirrored for 5.5. What
  // reaches over the edge reads the edge.
  EXPECT_EQ(table.first, (Ints{0, 6, 12}));
  const Doubles expected{
      (0.625 + 0.375 + 0.125) / 4, 0.875 / 4, 0.875 / 4, 0.625 / 4, 0.375 / 4, 0.125 / 4};
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(table.weight[i], expected[i], 1e-15) << i;
    EXPECT_NEAR(table.weight[11 - i], expected[i], 1e-15) << i;
  }
}

TEST(ResampleTable, WeightsOfAnElementSumToOne) {
  for (const char* mode : {"linear", "cubic"}) {
    for (const bool antialias : {false, true}) {
      for (const bool excludes : {false, true}) {
        const ResampleTable table = resample_table(attributes_of({{"mode", std::string(mode)},
                                                                  {"antialias", antialias},
                                                                  {"exclude_outside", excludes}}),
                                                   0, 11, 7);
        for (std::size_t o = 0; o < 7; ++o) {
          const double sum = std::accumulate(table.weight.begin() + table.first[o],
                                             table.weight.begin() + table.first[o + 1], 0.0);
          EXPECT_NEAR(sum, 1, 1e-12) << mode << " element " << o;
        }
      }
    }
  }
}

TEST(ResampleTable, ACropReachesOutside) {
  const ResampleTable table =
      resample_table(attributes_of({{"mode", std::string("linear")},
                                    {"coordinates", std::string("tf_crop_and_resize")},
                                    {"roi", Doubles{-0.5, 1}}}),
                     0, 5, 4);
  // From -2 to 4 in steps of 2.
  EXPECT_EQ(table.first, (Ints{0, 0, 1, 2, 3}));
  EXPECT_EQ(table.index, (Ints{0, 2, 4}));
}

TEST(ResampleTable, TransposedSwapsTheSides) {
  const ResampleTable table =
      resample_table(attributes_of({{"mode", std::string("linear")}}), 0, 2, 4).transposed();
  EXPECT_EQ(table.in, 4);
  EXPECT_EQ(table.first, (Ints{0, 3, 6}));
  EXPECT_EQ(table.index, (Ints{0, 1, 2, 1, 2, 3}));
  EXPECT_EQ(table.weight, (Doubles{1, 0.75, 0.25, 0.25, 0.75, 1}));
  EXPECT_TRUE(resample_table(attributes_of({}), 0, 5, 5).is_identity());
  EXPECT_FALSE(table.is_identity());
}

}  // namespace
}  // namespace facet
