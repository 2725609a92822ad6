#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "passes/recompute_model.h"

namespace facet {

/// Which steps run again: one entry per step of the model.
using RepeatedSteps = std::vector<char>;

/// Cheap steps first until the estimated peak is at most `bytes`, or until nothing more helps.
RepeatedSteps choose_by_budget(RecomputeModel& model, std::int64_t bytes);

/// Every step inside the scopes but those that make what other scopes read in the forward pass.
/// Throws Error(usage) for a pattern that fits no scope of the forward pass, with the nearest ones.
RepeatedSteps choose_by_scope(const RecomputeModel& model,
                              const std::vector<std::string>& patterns);

}  // namespace facet
