#include "training/missed_steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/ir/error_of.h"
#include "tests/training/loss_case.h"
#include "training/random.h"

namespace facet::testing {
namespace {

constexpr std::int64_t kRows = 12, kWidth = 5;

/// SGD on the whole table at every step, rows that are not named with the gradient zero.
template <class Number>
struct Dense {
  std::vector<Number> w, v;

  void step(const MissedSteps::Rule& rule, double rate, const std::vector<Number>& gradient) {
    const auto momentum = static_cast<Number>(rule.momentum);
    const auto decay = static_cast<Number>(rule.weight_decay), lr = static_cast<Number>(rate);
    for (std::size_t i = 0; i < w.size(); ++i) {
      const Number d = gradient[i] + decay * w[i];
      v[i] = momentum * v[i] + d;
      w[i] -= lr * (rule.nesterov ? d + momentum * v[i] : v[i]);
    }
  }
};

/// The same with rows that are paid when they are named.
template <class Number>
struct Lazy {
  std::vector<Number> w, v;
  MissedSteps missed;

  void pay(const HostTensor& rows) {
    const HostTensor owed = missed.owed(rows, sizeof(Number) == 8 ? DType::f64 : DType::f32);
    for (std::int64_t k = 0; k < rows.element_count(); ++k) {
      const Number* o = owed.as<Number>() + 4 * k;
      for (std::int64_t i = 0; i < kWidth; ++i) {
        const auto at = static_cast<std::size_t>(rows.as<std::int64_t>()[k] * kWidth + i);
        const Number old = w[at];
        w[at] = o[0] * old + o[1] * v[at];
        v[at] = o[2] * old + o[3] * v[at];
      }
    }
  }
};

HostTensor all_rows() {
  std::vector<std::int64_t> list;
  for (std::int64_t i = 0; i < kRows; ++i) list.push_back(i);
  return labels_tensor(list);
}

double rate_at(int t) { return static_cast<float>(0.1 * (1 + 0.5 * std::sin(0.3 * t))); }

/// The largest difference (relative, for values above 1) between both after `steps` steps in which
/// few rows are named.
template <class Number>
double difference(const MissedSteps::Rule& rule, int steps) {
  constexpr auto kCount = static_cast<std::size_t>(kRows * kWidth);
  Random random(5);
  Dense<Number> dense{std::vector<Number>(kCount), std::vector<Number>(kCount, 0)};
  for (Number& w : dense.w) w = static_cast<Number>(random.normal());
  Lazy<Number> lazy{dense.w, dense.v, MissedSteps(kRows, rule, 4096)};
  for (int t = 0; t < steps; ++t) {
    const std::int64_t first = random.integer(kRows / 2);
    const HostTensor rows = labels_tensor({first, first + random.integer(kRows / 2) + 1});
    lazy.pay(rows);
    std::vector<Number> gradient(kCount, 0);
    for (std::int64_t k = 0; k < 2; ++k) {
      const std::int64_t row = rows.as<std::int64_t>()[k];
      for (std::int64_t i = row * kWidth; i < (row + 1) * kWidth; ++i) {
        gradient[static_cast<std::size_t>(i)] = static_cast<Number>(random.normal());
      }
    }
    dense.step(rule, rate_at(t), gradient);
    Dense<Number> named{lazy.w, lazy.v};
    named.step(rule, rate_at(t), gradient);
    for (std::int64_t k = 0; k < 2; ++k) {  // the others stay as they are
      const auto begin = static_cast<std::size_t>(rows.as<std::int64_t>()[k] * kWidth);
      std::copy_n(named.w.begin() + static_cast<std::ptrdiff_t>(begin), kWidth,
                  lazy.w.begin() + static_cast<std::ptrdiff_t>(begin));
      std::copy_n(named.v.begin() + static_cast<std::ptrdiff_t>(begin), kWidth,
                  lazy.v.begin() + static_cast<std::ptrdiff_t>(begin));
    }
    lazy.missed.stepped(rows, rate_at(t));
  }
  lazy.pay(all_rows());
  double worst = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    const auto away = [](Number one, Number other) {
      return std::fabs(static_cast<double>(one - other)) /
             (1 + std::fabs(static_cast<double>(other)));
    };
    worst = std::max({worst, away(lazy.w[i], dense.w[i]), away(lazy.v[i], dense.v[i])});
  }
  return worst;
}

TEST(MissedSteps, PaidRowsAreThoseOfTheDenseUpdate) {
  for (const bool nesterov : {false, true}) {
    const MissedSteps::Rule rule{static_cast<float>(0.9), static_cast<float>(5e-3), nesterov};
    EXPECT_LT(difference<double>(rule, 20), 1e-14) << nesterov;
    EXPECT_LT(difference<double>(rule, 1500), 1e-13) << nesterov;
    EXPECT_LT(difference<float>(rule, 20), 1e-5) << nesterov;
    EXPECT_LT(difference<float>(rule, 400), 1e-5) << nesterov;
  }
  EXPECT_LT(difference<double>({0, 0.01, false}, 60), 1e-14) << "decay alone";
  EXPECT_LT(difference<double>({0.9, 0, false}, 60), 1e-13) << "momentum alone";
}

TEST(MissedSteps, NothingIsOwedAtFirstAndBehindAStep) {
  MissedSteps missed(kRows, {0.9, 0.01, false});
  const HostTensor rows = labels_tensor({2, 5});
  const std::vector<double> nothing = {1, 0, 0, 1, 1, 0, 0, 1};
  EXPECT_EQ(missed.owed(rows).to_doubles(), nothing);
  missed.stepped(rows, 0.1);
  EXPECT_EQ(missed.owed(rows).to_doubles(), nothing);
  const std::vector<double> owed = missed.owed(labels_tensor({3}), DType::f64).to_doubles();
  EXPECT_NEAR(owed[0], 1 - 0.1 * 0.01, 1e-15);
  EXPECT_NEAR(owed[1], -0.1 * 0.9, 1e-15);
  EXPECT_EQ(owed[2], 0.01);
  EXPECT_EQ(owed[3], 0.9);
}

/// Tables in f32 whose rows were named at different steps.
struct Tables {
  HostTensor table = uniform("table", {kRows, kWidth}, -1, 1);
  HostTensor velocity = uniform("velocity", {kRows, kWidth}, -1, 1);
};

TEST(MissedSteps, PayingAllRowsLeavesThemAsPaidSays) {
  MissedSteps missed(kRows, {0.9, 0.01, false}, 8);
  for (int t = 0; t < 6; ++t) missed.stepped(labels_tensor({t, t + 3}), rate_at(t));
  Tables tables;
  const HostTensor paid = missed.paid(tables.table, tables.velocity);
  missed.pay_all(tables.table, tables.velocity);
  EXPECT_EQ(tables.table.to_doubles(), paid.to_doubles());
  EXPECT_EQ(missed.paid(tables.table, tables.velocity).to_doubles(), paid.to_doubles());
  const std::vector<double> owed = missed.owed(all_rows()).to_doubles();
  for (std::size_t i = 0; i < owed.size(); ++i)
    EXPECT_EQ(owed[i], i % 4 == 0 || i % 4 == 3 ? 1 : 0);
}

TEST(MissedSteps, ATrainingThatGoesOnPaysAtTheSameStep) {
  const MissedSteps::Rule rule{0.9, 0.01, false};
  MissedSteps whole(kRows, rule, 8);
  Tables tables;
  std::vector<std::int64_t> full;
  for (int t = 0; t < 30; ++t) {
    const HostTensor rows = labels_tensor({t % 5});
    whole.stepped(rows, rate_at(t));
    MissedSteps again(kRows, rule, 8);
    again.assign(whole.tensors());
    const bool is_full = whole.is_full();
    EXPECT_EQ(again.is_full(), is_full) << t;
    if (!is_full) continue;
    full.push_back(whole.steps());
    whole.pay_all(tables.table, tables.velocity);
  }
  EXPECT_EQ(full, (std::vector<std::int64_t>{8, 16, 24}));
}

TEST(MissedSteps, OtherTablesAreRefused) {
  MissedSteps missed(kRows, {});
  EXPECT_EQ(test::error_of([&] { missed.assign(MissedSteps(kRows + 1, {}).tensors()); },
                           ErrorKind::failure),
            "the steps that rows of a table missed are those of another table");
}

}  // namespace
}  // namespace facet::testing
