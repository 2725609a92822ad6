#pragma once

#include <span>
#include <vector>

#include "backends/backend.h"

namespace facet {

/// The steps in an order of the same results, as groups of neighbours that one kernel runs.
///
/// Only steps that write state in place (optimizer updates) are moved, and only back: an update
/// waits for others that `backend` runs together with it, until a step reads what one of them makes
/// or overwrites what one of them reads. All others are groups of their own. Deterministic.
std::vector<std::vector<Node*>> group_steps(std::span<Node* const> steps, const Backend& backend);

}  // namespace facet
