#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "runtime/report.h"

namespace facet {
namespace {

double share(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

/// Arithmetic and memory rates of a step; a blank for one that computes nothing.
std::string rates(const StepInfo& step, double milliseconds) {
  if (milliseconds <= 0) return fmt::format("{:>9} {:>8}", "", "");
  const double per_second = 1e3 / milliseconds;
  const std::string gflops =
      step.is_compute ? fmt::format("{:.1f}", step.flops * per_second * 1e-9) : std::string();
  return fmt::format("{:>9} {:>8.1f}", gflops, step.bytes * per_second * 1e-9);
}

std::string kind_table(const ProgramInfo& program, const std::vector<StepTime>& times, double total) {
  struct Row {
    double milliseconds = 0;
    int steps = 0;
  };
  std::map<std::string, Row> kinds;
  for (const StepTime& time : times) {
    Row& row = kinds[program.steps.at(time.step).kind];
    row.milliseconds += time.milliseconds;
    ++row.steps;
  }
  std::vector<std::pair<std::string, Row>> rows(kinds.begin(), kinds.end());
  std::ranges::stable_sort(rows, std::greater{}, [](const auto& row) { return row.second.milliseconds; });
  std::string text = fmt::format("\n{:>10} {:>6} {:>6}  {}\n", "ms", "%", "steps", "op");
  for (const auto& [kind, row] : rows) {
    text += fmt::format("{:>10.4f} {:>6.1f} {:>6}  {}\n", row.milliseconds,
                        share(row.milliseconds, total), row.steps, kind);
  }
  return text;
}

}  // namespace

std::vector<StepTime> average(const std::vector<std::vector<ProfileRow>>& profiles) {
  std::map<std::size_t, double> sums;
  for (const auto& rows : profiles) {
    for (const ProfileRow& row : rows) sums[row.step] += row.milliseconds;
  }
  std::vector<StepTime> times;
  for (const auto& [step, sum] : sums) {
    times.push_back({step, sum / static_cast<double>(profiles.size())});
  }
  std::ranges::stable_sort(times, std::greater{}, &StepTime::milliseconds);
  return times;
}

std::string profile_text(const ProgramInfo& program, const std::vector<StepTime>& times,
                         double run_milliseconds) {
  double total = 0;
  for (const StepTime& time : times) total += time.milliseconds;
  std::string text = fmt::format("{:>10} {:>6} {:>9} {:>8}  {:<12} {:<34} {:<30} {}\n", "ms", "%",
                                 "GFLOP/s", "GB/s", "op", "scope", "implementation", "result");
  for (const StepTime& time : times) {
    const StepInfo& step = program.steps.at(time.step);
    text += fmt::format("{:>10.4f} {:>6.1f} {}  {:<12} {:<34} {:<30} {}\n", time.milliseconds,
                        share(time.milliseconds, total), rates(step, time.milliseconds), step.kind,
                        step.scope, step.implementation, step.result_type);
  }
  text += fmt::format("{:>10.4f} {:>6.1f} {:>9} {:>8}  total of {} steps\n", total,
                      share(total, total), "", "", times.size());
  text += fmt::format("{:>10.4f} {:>6} {:>9} {:>8}  whole run, with copies in and out\n",
                      run_milliseconds, "", "", "");
  return text + kind_table(program, times, total);
}

}  // namespace facet
