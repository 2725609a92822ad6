#include "training/random.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "runtime/splitmix.h"
#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Moments {
  double mean = 0;
  double variance = 0;
};

template <class Draw>
Moments moments_of(Draw draw) {
  constexpr int kCount = 40000;
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = draw();
    sum += value;
    squares += value * value;
  }
  return {sum / kCount, squares / kCount - sum / kCount * sum / kCount};
}

// The published first outputs of SplitMix64 for seed 0.
TEST(Random, BitsAreSplitMix64) {
  EXPECT_EQ(splitmix64(0, 0), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(splitmix64(0, 1), 0x6E789E6AA1B965F4u);
}

// Computed by another program from the definition; they must never change: a resumed training
// would see other data.
TEST(Random, SequencesAreFixed) {
  Random random(2048, 3, 77);
  EXPECT_EQ(random.bits(), 0x3FD594F8305D8CD1u);
  EXPECT_EQ(random.bits(), 0x544AC01797A4FD2Eu);
  EXPECT_EQ(random.bits(), 0xE6432761B4805B4Eu);
  EXPECT_THAT(permutation(10, Random(1)), ElementsAre(6, 3, 0, 7, 9, 1, 2, 8, 5, 4));
  Random normal(5);
  for (const double expected :
       {1.2293189354937502, -0.144640255076531, -0.38737839285299647, 0.06115660154763823}) {
    EXPECT_THAT(normal.normal(), DoubleNear(expected, 1e-14));
  }
}

TEST(Random, SeedEpochAndItemEachChangeTheDraws) {
  std::set<std::uint64_t> first;
  for (std::uint64_t seed : {0, 1}) {
    for (std::uint64_t epoch : {0, 1, 2}) {
      for (std::uint64_t item : {0, 1, 2}) first.insert(Random(seed, epoch, item).bits());
    }
  }
  EXPECT_EQ(first.size(), 18U);
}

TEST(Random, UniformFillsItsRange) {
  Random random(7);
  double least = 10;
  double most = -10;
  const Moments moments = moments_of([&] {
    const double value = random.uniform(-3, 1);
    least = std::min(least, value);
    most = std::max(most, value);
    return value;
  });
  EXPECT_NEAR(moments.mean, -1, 0.02);
  EXPECT_NEAR(moments.variance, 16.0 / 12, 0.02);
  EXPECT_GE(least, -3);
  EXPECT_LT(most, 1);
  EXPECT_NEAR(least, -3, 0.01);
  EXPECT_NEAR(most, 1, 0.01);
}

TEST(Random, IntegersAreEquallyLikely) {
  Random random(8);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[static_cast<std::size_t>(random.integer(7))];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 400);  // four standard deviations
  EXPECT_EQ(random.integer(1), 0);
  for (int i = 0; i < 20; ++i) EXPECT_GE(random.integer(std::int64_t{3} << 61), 0);
  EXPECT_THAT(error_of([&] { random.integer(0); }, ErrorKind::usage), HasSubstr("below 0"));
}

TEST(Random, ChanceHasItsProbability) {
  Random random(9);
  EXPECT_NEAR(moments_of([&] { return random.chance(0.2) ? 1.0 : 0.0; }).mean, 0.2, 0.01);
  EXPECT_EQ(moments_of([&] { return random.chance(0) ? 1.0 : 0.0; }).mean, 0);
  EXPECT_EQ(moments_of([&] { return random.chance(1) ? 1.0 : 0.0; }).mean, 1);
}

TEST(Random, DistributionsHaveTheirMoments) {
  Random random(10);
  const Moments normal = moments_of([&] { return random.normal(); });
  EXPECT_NEAR(normal.mean, 0, 0.02);
  EXPECT_NEAR(normal.variance, 1, 0.03);
  for (const double shape : {0.4, 1.0, 5.0}) {
    const Moments gamma = moments_of([&] { return random.gamma(shape); });
    EXPECT_NEAR(gamma.mean, shape, 0.02 * (1 + shape));
    EXPECT_NEAR(gamma.variance, shape, 0.06 * (1 + shape));
  }
  const Moments beta = moments_of([&] { return random.beta(2, 3); });
  EXPECT_NEAR(beta.mean, 0.4, 0.01);
  EXPECT_NEAR(beta.variance, 0.04, 0.002);
  EXPECT_THAT(error_of([&] { random.gamma(0); }, ErrorKind::usage), HasSubstr("shape 0"));
}

TEST(Random, LogarithmIsTheLogarithm) {
  for (const double x : {1e-300, 1e-9, 0.3, 0.7071, 0.99999, 1.0, 1.4143, 2.0, 12345.678, 1e300}) {
    EXPECT_NEAR(portable_log(x), std::log(x), 4e-16 * (1 + std::abs(std::log(x)))) << x;
  }
}

TEST(Random, PermutationsHoldEveryNumberOnce) {
  std::vector<std::int64_t> order = permutation(1000, Random(3, 4));
  EXPECT_NE(order, permutation(1000, Random(3, 5)));
  std::ranges::sort(order);
  for (std::int64_t i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  EXPECT_TRUE(permutation(0, Random(1)).empty());
}

}  // namespace
}  // namespace facet::test
