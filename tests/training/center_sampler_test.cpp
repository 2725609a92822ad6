#include "training/center_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "tests/ir/error_of.h"
#include "tests/training/loss_case.h"

namespace facet::testing {
namespace {

std::vector<std::int64_t> values(const HostTensor& tensor) {
  return {tensor.as<std::int64_t>(), tensor.as<std::int64_t>() + tensor.element_count()};
}

TEST(CenterSampler, TakesTheBatchAndSoManyOthersInOrder) {
  const CenterSampler sampler(5000, 300, 7);
  const HostTensor labels = labels_tensor({4999, 17, 17, 0, -1, 5000, 2048});
  for (std::int64_t step = 0; step < 50; ++step) {
    const std::vector<std::int64_t> rows = values(sampler.draw(step, {labels, labels_tensor({9})}));
    ASSERT_EQ(rows.size(), 300U);
    EXPECT_TRUE(std::ranges::is_sorted(rows));
    const std::set<std::int64_t> different(rows.begin(), rows.end());
    EXPECT_EQ(different.size(), rows.size());
    EXPECT_GE(*different.begin(), 0);
    EXPECT_LT(*different.rbegin(), 5000);
    for (const std::int64_t label : {0, 9, 17, 2048, 4999}) EXPECT_TRUE(different.contains(label));
  }
}

TEST(CenterSampler, DependsOnSeedAndStepAlone) {
  const HostTensor labels = labels_tensor({3});
  const auto rows = [&](std::uint64_t seed, std::int64_t step) {
    return values(CenterSampler(900, 90, seed).draw(step, {labels}));
  };
  EXPECT_EQ(rows(1, 5), rows(1, 5));
  EXPECT_NE(rows(1, 5), rows(1, 6));
  EXPECT_NE(rows(1, 5), rows(2, 5));
}

/// The others are the same draws whatever the batch is: adding one class takes the last of them
/// out.
TEST(CenterSampler, TheLargestDrawsAreTaken) {
  const CenterSampler sampler(2000, 64, 3);
  const std::vector<std::int64_t> plain = values(sampler.draw(11, {}));
  std::int64_t absent = 0;
  while (std::ranges::binary_search(plain, absent)) ++absent;
  const std::vector<std::int64_t> with = values(sampler.draw(11, {labels_tensor({absent})}));
  std::vector<std::int64_t> lost, gained;
  std::ranges::set_difference(plain, with, std::back_inserter(lost));
  std::ranges::set_difference(with, plain, std::back_inserter(gained));
  EXPECT_EQ(gained, std::vector<std::int64_t>{absent});
  EXPECT_EQ(lost.size(), 1U);
  EXPECT_EQ(values(sampler.draw(11, {labels_tensor({plain[5]})})), plain) << "it was in already";
}

TEST(CenterSampler, AllCentresAndOnlyTheBatch) {
  const HostTensor labels = labels_tensor({2, 6, 4});
  EXPECT_EQ(values(CenterSampler(8, 8, 1).draw(0, {labels})),
            (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(values(CenterSampler(8, 3, 1).draw(0, {labels})), (std::vector<std::int64_t>{2, 4, 6}));
  EXPECT_EQ(values(CenterSampler(1, 1, 1).draw(0, {})), std::vector<std::int64_t>{0});
}

TEST(CenterSampler, MistakesAreNamed) {
  EXPECT_EQ(test::error_of([] { CenterSampler(5, 6, 1); }),
            "6 of 5 class centres cannot be sampled");
  EXPECT_EQ(test::error_of([] { CenterSampler(5, 0, 1); }),
            "0 of 5 class centres cannot be sampled");
  EXPECT_EQ(test::error_of([] {
              CenterSampler(9, 2, 1).draw(0, {labels_tensor({1, 2, 3})});
            }),
            "a batch of 3 classes for a sample of 2 centres");
}

/// Every class is as likely: the sum of squared deviations of the counts, in units of their
/// variance, has the mean C - 1 and the deviation sqrt(2 (C - 1)) under uniform draws; 5 deviations
/// are allowed.
TEST(CenterSampler, ClassesAreEquallyLikely) {
  constexpr std::int64_t kClasses = 1000, kSample = 100, kSteps = 400;
  const CenterSampler sampler(kClasses, kSample, 42);
  std::vector<std::int64_t> counts(kClasses, 0);
  for (std::int64_t step = 0; step < kSteps; ++step) {
    for (const std::int64_t row : values(sampler.draw(step, {})))
      ++counts[static_cast<std::size_t>(row)];
  }
  const double rate = static_cast<double>(kSample) / kClasses;
  const double variance = kSteps * rate * (1 - rate) * kClasses / (kClasses - 1.0);
  double chi_square = 0;
  for (const std::int64_t count : counts) {
    const double away = static_cast<double>(count) - kSteps * rate;
    chi_square += away * away / variance;
  }
  EXPECT_NEAR(chi_square, kClasses - 1, 5 * std::sqrt(2.0 * (kClasses - 1)));
}

TEST(PlacesOf, FindsLabelsAmongSortedClasses) {
  const HostTensor places =
      places_of(labels_tensor({7, 2, 3, -1, 100, 2}), labels_tensor({2, 7, 50}));
  EXPECT_EQ(values(places), (std::vector<std::int64_t>{1, 0, -1, -1, -1, 0}));
}

}  // namespace
}  // namespace facet::testing
