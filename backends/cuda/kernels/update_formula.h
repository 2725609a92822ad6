#pragma once

#include <string>

#include "ir/graph.h"

/// What optimizer steps compute, as text (ir/ops/updates.cpp has the formulas).
namespace facet::cuda {

/// Numbers of an update's operands; -1 for one that it does not have. The states come first.
struct UpdateOperands {
  int states = 0;
  int source = 0;  ///< the gradient, or the value to average
  int rate = -1;
  int step = -1;
  int rows = -1;  ///< of a table, which alone are stepped
  int owed = -1;
};

/// Of sgd_update, adam_update, lars_update or ema_update. Throws Error(failure) for another op.
UpdateOperands update_operands(const Node& node);

/// Lines that read the learning rate and the step from `rate_at` and `step_at`; a rate that is not
/// finite ends the kernel.
std::string update_settings(const Node& node);

/// Lines for element `i`: new states s0[i], s1[i], s2[i] from the old ones, the gradient g[i], what
/// `update_settings` read and, for lars, the factor `local`.
std::string update_formula(const Node& node);

}  // namespace facet::cuda
