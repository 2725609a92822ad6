#include "ir/padding.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"

namespace facet {
namespace {

/// The stretch that starts at place `i` (0 is the axis' first element) if it may go on for ever.
PadRun run_at(PadMode mode, std::int64_t i, std::int64_t extent) {
  const auto modulo = [](std::int64_t a, std::int64_t n) { return (a % n + n) % n; };
  if (mode == PadMode::constant) return {0, 0, -1, 0};
  if (mode == PadMode::edge || extent == 1) return {0, 0, i < 0 ? 0 : extent - 1, 0};
  if (mode == PadMode::wrap) return {0, 0, modulo(i, extent), 1};
  // There and back again: extent - 1 steps forward, as many backwards.
  const std::int64_t last = extent - 1;
  const std::int64_t phase = modulo(i, 2 * last);
  return phase < last ? PadRun{0, 0, phase, 1} : PadRun{0, 0, 2 * last - phase, -1};
}

/// Elements until the stretch leaves the axis, or turns.
std::int64_t room(PadMode mode, const PadRun& run, std::int64_t extent) {
  if (run.step == 0) return INT64_MAX;
  if (mode == PadMode::wrap) return extent - run.from;
  return run.step > 0 ? extent - 1 - run.from : run.from;
}

}  // namespace

PadMode parse_pad_mode(std::string_view name) {
  if (name == "constant") return PadMode::constant;
  if (name == "edge") return PadMode::edge;
  if (name == "reflect") return PadMode::reflect;
  if (name == "wrap") return PadMode::wrap;
  throw usage_error(
      fmt::format("'{}' is no padding mode: constant, edge, reflect and wrap are", name));
}

std::vector<PadRun> pad_runs(PadMode mode, std::int64_t extent, std::int64_t before,
                             std::int64_t after) {
  std::vector<PadRun> runs;
  const auto border = [&](std::int64_t first, std::int64_t last) {
    while (first < last) {
      PadRun run = run_at(mode, first, extent);
      run.to = first + before;
      run.count = std::min(last - first, room(mode, run, extent));
      first += run.count;
      runs.push_back(run);
    }
  };
  border(-before, 0);
  runs.push_back({before, extent, 0, 1});
  border(extent, extent + after);
  return runs;
}

}  // namespace facet
