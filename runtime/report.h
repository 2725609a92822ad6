#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/compile.h"

/// What a compiled program is made of and where its time goes, for people and as JSON.
namespace facet {

/// A value in the arena at some step.
struct LiveValue {
  std::string type;
  std::string kind;   ///< op that made it
  std::string scope;
  std::int64_t bytes = 0;
};

/// The step of a scheduled graph with static shapes at which most bytes are alive, largest value
/// first. Views count once; values that share bytes by in-place writes count each.
struct FullestStep {
  std::string kind;
  std::string scope;
  std::int64_t bytes = 0;
  std::vector<LiveValue> values;
};
FullestStep fullest_step(const Graph& graph);

/// What `facet explain` prints: fusions with their scopes, what was not fused and why, layouts,
/// memory, passes. `last` is the graph after the last pass.
std::string explain_text(const ProgramInfo& program, const Graph& last);
std::string explain_json(const ProgramInfo& program, const Graph& last);

/// A step's mean time over several runs.
struct StepTime {
  std::size_t step = 0;
  double milliseconds = 0;
};
/// Means of profiles of the same program, the slowest step first.
std::vector<StepTime> average(const std::vector<std::vector<ProfileRow>>& profiles);

/// A table of all steps, slowest first, and one by kind of op; both add up to the same total.
/// `run_milliseconds` is the mean time of whole runs, copies in and out included.
std::string profile_text(const ProgramInfo& program, const std::vector<StepTime>& times,
                         double run_milliseconds);

}  // namespace facet
