#include "ir/padding.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/ir/error_of.h"

namespace facet::test {
namespace {

using Places = std::vector<std::int64_t>;

/// The element that each place of the padded axis holds, -1 for the constant.
Places places(PadMode mode, std::int64_t extent, std::int64_t before, std::int64_t after) {
  Places all;
  for (const PadRun& run : pad_runs(mode, extent, before, after)) {
    EXPECT_EQ(run.to, static_cast<std::int64_t>(all.size())) << "runs stand side by side";
    for (std::int64_t i = 0; i < run.count; ++i) all.push_back(run.from + i * run.step);
  }
  return all;
}

TEST(Padding, ConstantStandsOutside) {
  EXPECT_EQ(places(PadMode::constant, 3, 2, 1), (Places{-1, -1, 0, 1, 2, -1}));
  EXPECT_EQ(places(PadMode::constant, 3, 0, 0), (Places{0, 1, 2}));
}

TEST(Padding, EdgeRepeatsTheOutermostElement) {
  EXPECT_EQ(places(PadMode::edge, 3, 2, 3), (Places{0, 0, 0, 1, 2, 2, 2, 2}));
}

TEST(Padding, ReflectDoesNotRepeatTheOutermostElement) {
  EXPECT_EQ(places(PadMode::reflect, 4, 3, 3), (Places{3, 2, 1, 0, 1, 2, 3, 2, 1, 0}));
}

TEST(Padding, ReflectGoesThereAndBackAgain) {
  EXPECT_EQ(places(PadMode::reflect, 3, 5, 4), (Places{1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2}));
  EXPECT_EQ(places(PadMode::reflect, 2, 3, 2), (Places{1, 0, 1, 0, 1, 0, 1}));
  EXPECT_EQ(places(PadMode::reflect, 1, 2, 2), (Places{0, 0, 0, 0, 0}));
}

TEST(Padding, WrapBeginsAnew) {
  EXPECT_EQ(places(PadMode::wrap, 3, 4, 5), (Places{2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1}));
}

/// As long as can be: a border that is no longer than the axis takes one run.
TEST(Padding, RunsAreFew) {
  EXPECT_EQ(pad_runs(PadMode::reflect, 9, 3, 0).size(), 2u);
  EXPECT_EQ(pad_runs(PadMode::wrap, 9, 9, 9).size(), 3u);
  EXPECT_EQ(pad_runs(PadMode::edge, 9, 100, 100).size(), 3u);
}

TEST(Padding, KnowsItsWords) {
  EXPECT_EQ(parse_pad_mode("wrap"), PadMode::wrap);
  EXPECT_NE(error_of([] { parse_pad_mode("symmetric"); }).find("'symmetric'"), std::string::npos);
}

}  // namespace
}  // namespace facet::test
