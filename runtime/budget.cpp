#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ir/error.h"
#include "runtime/program.h"

namespace facet {
namespace {

/// Plans that are made until one keeps to the budget, and the part of it that each asks less for
/// than the one before, at least: one that misses by little would be made again.
constexpr int kAttempts = 5;
constexpr std::int64_t kLeastPart = 64;

}  // namespace

std::shared_ptr<const Program> make_program(const Graph& graph, std::int64_t batch,
                                            const Backends& backends, WeightStore& weights,
                                            const CompileOptions& options,
                                            const ProgramInfo& optimization) {
  ProgramInfo info = optimization;
  const auto make = [&](const CompileOptions& given, std::int64_t reserve) {
    return std::make_shared<const Program>(graph, batch, backends, weights, given, info, reserve);
  };
  if (options.recompute.kind != RecomputePolicy::Kind::budget) return make(options, 0);
  CompileOptions chosen = options;
  chosen.recompute = {};
  const CompileOptions without = chosen;
  std::shared_ptr<const Program> program = make(without, 0);
  const std::int64_t plain = program->info().arena_bytes;
  info.plain_arena_bytes = plain;
  const double share = options.recompute.fraction * static_cast<double>(plain);
  chosen.recompute = {
      .kind = RecomputePolicy::Kind::budget,
      .bytes = options.recompute.bytes > 0 ? options.recompute.bytes : std::llround(share)};
  if (plain <= chosen.recompute.bytes) return make(without, 0);  // which now knows `plain`
  std::int64_t smallest = plain;
  std::int64_t reserve = 0;
  for (int i = 0; i < kAttempts && program->info().arena_bytes > chosen.recompute.bytes; ++i) {
    program = make(chosen, reserve);
    smallest = std::min(smallest, program->info().arena_bytes);
    reserve += std::max(program->info().arena_bytes - chosen.recompute.bytes,
                        chosen.recompute.bytes / kLeastPart);
  }
  if (program->info().arena_bytes > chosen.recompute.bytes) {
    throw usage_error(fmt::format(
        "a recompute budget of {:.1f} MB cannot be met: the smallest arena found "
        "for this step is {:.1f} MB",
        static_cast<double>(chosen.recompute.bytes) * 1e-6, static_cast<double>(smallest) * 1e-6));
  }
  return program;
}

}  // namespace facet
