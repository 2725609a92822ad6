#include "training/schedule.h"

#include <gmock/gmock.h>

#include <cmath>
#include <vector>

#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The rates of all iterations.
std::vector<double> rates(const Schedule& schedule, double base, std::int64_t per_epoch,
                          std::int64_t epochs) {
  std::vector<double> all;
  for (std::int64_t i = 0; i < per_epoch * epochs; ++i) {
    all.push_back(learning_rate(schedule, base, i, per_epoch, epochs));
  }
  return all;
}

TEST(Schedule, ConstantStaysAfterItsWarmUp) {
  Schedule schedule;
  EXPECT_THAT(rates(schedule, 0.3, 2, 2), Each(0.3));
  schedule.warmup_epochs = 0.5;
  EXPECT_THAT(rates(schedule, 0.3, 4, 1), ElementsAre(0.15, 0.3, 0.3, 0.3));
}

TEST(Schedule, StepHasLsCnnsNineThenTenEpochs) {
  const Schedule schedule = {.kind = ScheduleKind::step, .milestones = {9, 19}};
  constexpr std::int64_t kIterations = 7;
  for (std::int64_t epoch = 1; epoch <= 25; ++epoch) {  // counted from 1, as there
    const double expected = epoch <= 9 ? 0.1 : epoch <= 19 ? 0.01 : 0.001;
    for (const std::int64_t i : {std::int64_t{0}, kIterations - 1}) {
      EXPECT_DOUBLE_EQ(learning_rate(schedule, 0.1, (epoch - 1) * kIterations + i, kIterations, 25),
                       expected)
          << "epoch " << epoch;
    }
  }
}

TEST(Schedule, StepFallsByGammaAtEveryMilestone) {
  const Schedule schedule = {
      .kind = ScheduleKind::step, .warmup_epochs = 1, .milestones = {2, 3}, .gamma = 0.5};
  EXPECT_THAT(rates(schedule, 8, 2, 4), ElementsAre(4, 8, 8, 8, 4, 4, 2, 2));
}

TEST(Schedule, CosineHasLesasCheckValues) {
  const Schedule schedule = {.kind = ScheduleKind::cosine, .warmup_epochs = 5};
  constexpr std::int64_t kIterations = 10010;
  const auto at = [&](std::int64_t epoch, std::int64_t iteration) {
    return learning_rate(schedule, 0.05, epoch * kIterations + iteration, kIterations, 95);
  };
  EXPECT_DOUBLE_EQ(at(0, 0), 0.05 / kIterations / 5);
  EXPECT_THAT(at(0, 0), DoubleNear(1.0e-6 * 0.999, 1e-10));
  EXPECT_DOUBLE_EQ(at(0, kIterations - 1), 0.01);
  EXPECT_DOUBLE_EQ(at(4, kIterations - 1), 0.05);
  EXPECT_DOUBLE_EQ(at(5, 0), 0.05);
  EXPECT_DOUBLE_EQ(at(50, 0), 0.025);
  EXPECT_THAT(at(94, kIterations - 1), DoubleNear(1.5e-13, 0.05e-13));
}

TEST(Schedule, CosinePerEpochIsDcrs) {
  const Schedule schedule = {.kind = ScheduleKind::cosine, .per_epoch = true};
  for (std::int64_t epoch = 0; epoch < 200; epoch += 33) {
    const double expected = 0.01 * 0.5 * (1 + std::cos(M_PI * static_cast<double>(epoch) / 200));
    EXPECT_THAT(learning_rate(schedule, 0.01, epoch * 5, 5, 200), DoubleNear(expected, 1e-17));
    EXPECT_THAT(learning_rate(schedule, 0.01, epoch * 5 + 4, 5, 200), DoubleNear(expected, 1e-17));
  }
}

TEST(Schedule, PolynomialIsArcFacesWithItsFirstStepAtTheBaseRate) {
  const Schedule head = {.kind = ScheduleKind::polynomial,
                         .warmup_epochs = 1,
                         .power = 1,
                         .warmup_from_zero = true,
                         .first_at_base = true};
  constexpr std::int64_t kWarmup = 4;
  constexpr std::int64_t kTotal = 12;
  for (std::int64_t k = 1; k <= kTotal; ++k) {  // 1-based, as in the formula
    double expected = 0.1 * static_cast<double>(kTotal - k + 1) / (kTotal - kWarmup);
    if (k <= kWarmup + 1) expected = 0.1 * static_cast<double>(k - 1) / kWarmup;
    if (k == 1) expected = 0.1;
    EXPECT_DOUBLE_EQ(learning_rate(head, 0.1, k - 1, 4, 3), expected) << "iteration " << k;
  }
}

TEST(Schedule, PolynomialIsTheOneOfApril2022) {
  const Schedule schedule = {
      .kind = ScheduleKind::polynomial, .warmup_epochs = 1, .power = 2, .warmup_from_zero = true};
  for (std::int64_t k = 1; k <= 12; ++k) {
    const double t = static_cast<double>(k - 1 - 4) / (12 - 4);
    const double expected = k <= 4 ? 0.1 * static_cast<double>(k - 1) / 4 : 0.1 * (1 - t) * (1 - t);
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 0.1, k - 1, 4, 3), expected) << "iteration " << k;
  }
  // Its training log: half-way from 0.1 it is at 0.0250.
  const Schedule plain = {.kind = ScheduleKind::polynomial, .power = 2};
  EXPECT_DOUBLE_EQ(learning_rate(plain, 0.1, 10 * 5686, 5686, 20), 0.025);
}

TEST(Schedule, PolynomialLagsOneStepForMla) {
  const Schedule schedule = {.kind = ScheduleKind::polynomial, .power = 2, .lag = 1};
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 0.1, 0, 10, 2), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 0.1, 1, 10, 2), 0.1);
  for (std::int64_t k = 3; k <= 20; ++k) {
    const double rest = 1 - static_cast<double>(k - 2) / 20;
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 0.1, k - 1, 10, 2), 0.1 * rest * rest);
  }
}

TEST(Schedule, OneCycleRisesAndFalls) {
  Schedule schedule = {.kind = ScheduleKind::one_cycle,
                       .warmup_epochs = 1,
                       .anneal = Anneal::linear,
                       .start_factor = 0.2,
                       .final_factor = 0.1};
  EXPECT_THAT(rates(schedule, 10, 4, 2),
              ElementsAre(DoubleNear(4, 1e-12), DoubleNear(6, 1e-12), DoubleNear(8, 1e-12), 10, 10,
                          7.75, 5.5, 3.25));
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 10, 8, 4, 2), 1) << "behind the end";
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 10, 800, 4, 2), 1);
  schedule.anneal = Anneal::cosine;
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 10, 6, 4, 2), 5.5);
  EXPECT_NEAR(learning_rate(schedule, 10, 5, 4, 2), 1 + 9 * (0.5 + std::sqrt(0.125)), 1e-12);
}

TEST(Schedule, RefusesWhatHasNoMeaning) {
  const auto refusal = [](const Schedule& schedule, std::int64_t epochs) {
    return error_of([&] { learning_rate(schedule, 0.1, 0, 10, epochs); }, ErrorKind::usage);
  };
  EXPECT_THAT(refusal({.warmup_epochs = 3}, 3), HasSubstr("warm-up of 3 epochs does not fit 3"));
  EXPECT_THAT(refusal({.warmup_epochs = -1}, 3), HasSubstr("warm-up"));
  EXPECT_THAT(refusal({.warmup_epochs = std::nan("")}, 3), HasSubstr("warm-up"));
  EXPECT_THAT(refusal({.milestones = {3, 3}}, 3), HasSubstr("must ascend"));
  EXPECT_THAT(refusal({.milestones = {0}}, 3), HasSubstr("at least 1"));
  EXPECT_THAT(refusal({}, 0), HasSubstr("at least 1"));
  EXPECT_THAT(refusal({.lag = -1}, 1), HasSubstr("lag"));
}

}  // namespace
}  // namespace facet::test
