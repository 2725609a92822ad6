#include "training/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ir/error.h"

namespace facet {
namespace {

double cosine(double t) { return 0.5 * (1 + std::cos(std::numbers::pi * t)); }

/// From 1 to `final_factor` as `shape` goes from 1 to 0.
double between(double final_factor, double shape) {
  return final_factor + (1 - final_factor) * shape;
}

double milestone_factor(const Schedule& schedule, std::int64_t epoch) {
  const auto passed = std::ranges::count_if(
      schedule.milestones, [&](std::int64_t milestone) { return milestone <= epoch; });
  return std::pow(schedule.gamma, static_cast<double>(passed));
}

}  // namespace

void check_schedule(const Schedule& schedule, std::int64_t epochs) {
  if (epochs < 1)
    throw usage_error(fmt::format("a schedule of {} epochs; give at least 1", epochs));
  if (!(schedule.warmup_epochs >= 0 && schedule.warmup_epochs < static_cast<double>(epochs))) {
    throw usage_error(fmt::format("a warm-up of {} epochs does not fit {} epochs of training",
                                  schedule.warmup_epochs, epochs));
  }
  const auto& milestones = schedule.milestones;
  if (std::ranges::adjacent_find(milestones, std::greater_equal<>()) != milestones.end() ||
      (!milestones.empty() && milestones.front() < 1)) {
    throw usage_error("the schedule's milestones must ascend, the first at least 1");
  }
  if (schedule.lag < 0) throw usage_error("the schedule's lag must be at least 0 iterations");
}

double learning_rate(const Schedule& schedule, double base, std::int64_t iteration,
                     std::int64_t iterations_per_epoch, std::int64_t epochs) {
  check_schedule(schedule, epochs);
  if (iterations_per_epoch < 1 || iteration < 0) {
    throw usage_error(fmt::format("iteration {} with {} iterations per epoch is not possible",
                                  iteration, iterations_per_epoch));
  }
  std::int64_t i = std::max<std::int64_t>(iteration - schedule.lag, 0);
  if (schedule.first_at_base && i == 0) return base;
  const auto per_epoch = static_cast<double>(iterations_per_epoch);
  const double total = per_epoch * static_cast<double>(epochs);
  const double warmup = per_epoch * schedule.warmup_epochs;
  if (static_cast<double>(i) < warmup) {
    const double part = static_cast<double>(schedule.warmup_from_zero ? i : i + 1) / warmup;
    return base * (schedule.start_factor + (1 - schedule.start_factor) * std::min(part, 1.0));
  }
  const std::int64_t epoch = i / iterations_per_epoch;
  if (schedule.per_epoch) i = epoch * iterations_per_epoch;
  const double t = std::clamp((static_cast<double>(i) - warmup) / (total - warmup), 0.0, 1.0);
  switch (schedule.kind) {
    case ScheduleKind::constant:
      return base;
    case ScheduleKind::step:
      return base * milestone_factor(schedule, epoch);
    case ScheduleKind::cosine:
      return base * between(schedule.final_factor, cosine(t));
    case ScheduleKind::polynomial:
      return base * between(schedule.final_factor, std::pow(1 - t, schedule.power));
    case ScheduleKind::one_cycle: {
      const double shape = schedule.anneal == Anneal::cosine ? cosine(t) : 1 - t;
      return base * between(schedule.final_factor, shape);
    }
  }
  return base;
}

}  // namespace facet
