#include "training/missed_steps.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ir/error.h"

namespace facet {
namespace {

using Step = MissedSteps::Step;

constexpr Step kNothing = {1, 0, 0, 1};

/// First `then`, then `last`.
Step after(const Step& last, const Step& then) {
  return {last[0] * then[0] + last[1] * then[2], last[0] * then[1] + last[1] * then[3],
          last[2] * then[0] + last[3] * then[2], last[2] * then[1] + last[3] * then[3]};
}

Step step_of(const MissedSteps::Rule& rule, double rate) {
  const double m = rule.momentum, l = rule.weight_decay;
  if (rule.nesterov) return {1 - rate * l * (1 + m), -rate * m * m, l, m};
  return {1 - rate * l, -rate * m, l, m};
}

}  // namespace

MissedSteps::MissedSteps(std::int64_t rows, const Rule& rule, std::int64_t window)
    : rule_(rule),
      window_(window),
      touched_(DType::i64, {rows}),
      rates_(DType::f64, {window}),
      count_(DType::i64, {1}) {}

std::vector<Step> MissedSteps::products(std::int64_t oldest) const {
  const std::int64_t now = steps();
  std::vector<Step> list = {kNothing};
  for (std::int64_t step = now; step > oldest; --step) {
    const double rate = rates_.as<double>()[step % window_];
    list.push_back(after(list.back(), step_of(rule_, rate)));
  }
  return list;
}

HostTensor MissedSteps::owed(const HostTensor& rows, DType dtype) const {
  const auto* row = rows.as<std::int64_t>();
  const auto* touched = touched_.as<std::int64_t>();
  const std::int64_t now = steps(), count = rows.element_count();
  std::int64_t oldest = now;
  for (std::int64_t k = 0; k < count; ++k) oldest = std::min(oldest, touched[row[k]]);
  const std::vector<Step> by_age = products(oldest);
  HostTensor result(dtype, {4 * count});
  for (std::int64_t k = 0; k < count; ++k) {
    const Step& step = by_age[static_cast<std::size_t>(now - touched[row[k]])];
    if (dtype == DType::f64) {
      std::ranges::copy(step, result.as_mutable<double>() + 4 * k);
    } else {
      std::ranges::transform(step, result.as_mutable<float>() + 4 * k,
                             [](double number) { return static_cast<float>(number); });
    }
  }
  return result;
}

void MissedSteps::stepped(const HostTensor& rows, double learning_rate) {
  const std::int64_t now = ++*count_.as_mutable<std::int64_t>();
  rates_.as_mutable<double>()[now % window_] = learning_rate;
  const auto* row = rows.as<std::int64_t>();
  for (std::int64_t k = 0; k < rows.element_count(); ++k) {
    touched_.as_mutable<std::int64_t>()[row[k]] = now;
  }
}

std::int64_t MissedSteps::first_touched() const {
  const auto* touched = touched_.as<std::int64_t>();
  return *std::min_element(touched, touched + touched_.element_count());
}

bool MissedSteps::is_full() {
  if (steps() - not_before_ < window_) return false;
  not_before_ = first_touched();
  return steps() - not_before_ >= window_;
}

void MissedSteps::pay_all(HostTensor& table, HostTensor& velocity) {
  const std::int64_t now = steps(), rows = table.shape()[0], width = table.shape()[1];
  const std::vector<Step> by_age = products(first_touched());
  auto* touched = touched_.as_mutable<std::int64_t>();
  auto* w = table.as_mutable<float>();
  auto* v = velocity.as_mutable<float>();
#pragma omp parallel for
  for (std::int64_t row = 0; row < rows; ++row) {
    if (touched[row] == now) continue;
    const Step& step = by_age[static_cast<std::size_t>(now - touched[row])];
    const auto a = static_cast<float>(step[0]), b = static_cast<float>(step[1]);
    const auto c = static_cast<float>(step[2]), d = static_cast<float>(step[3]);
    for (std::int64_t i = row * width; i < (row + 1) * width; ++i) {
      const float old = w[i];
      w[i] = a * old + b * v[i];
      v[i] = c * old + d * v[i];
    }
    touched[row] = now;
  }
  not_before_ = now;
}

HostTensor MissedSteps::paid(const HostTensor& table, const HostTensor& velocity) const {
  const std::int64_t now = steps(), rows = table.shape()[0], width = table.shape()[1];
  const std::vector<Step> by_age = products(first_touched());
  const auto* touched = touched_.as<std::int64_t>();
  HostTensor result(DType::f32, table.shape());
  auto* to = result.as_mutable<float>();
  const auto* w = table.as<float>();
  const auto* v = velocity.as<float>();
#pragma omp parallel for
  for (std::int64_t row = 0; row < rows; ++row) {
    const Step& step = by_age[static_cast<std::size_t>(now - touched[row])];
    const auto a = static_cast<float>(step[0]), b = static_cast<float>(step[1]);
    for (std::int64_t i = row * width; i < (row + 1) * width; ++i) to[i] = a * w[i] + b * v[i];
  }
  return result;
}

TensorMap MissedSteps::tensors() const {
  return {{"touched", touched_}, {"rates", rates_}, {"steps", count_}};
}

void MissedSteps::assign(const TensorMap& tensors) {
  const auto take = [&](HostTensor& to, const char* key) {
    const HostTensor& from = tensors.at(key);
    if (from.dtype() != to.dtype() || from.shape() != to.shape()) {
      throw failure("the steps that rows of a table missed are those of another table");
    }
    std::memcpy(to.mutable_data(), from.data(), static_cast<std::size_t>(from.byte_count()));
  };
  take(touched_, "touched");
  take(rates_, "rates");
  take(count_, "steps");
  not_before_ = first_touched();
}

}  // namespace facet
