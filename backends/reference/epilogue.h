#pragma once

#include "backends/reference/evaluators.h"

namespace facet::reference {

/// Applies the node's `epilogue` entries to `result` in order; per-channel operands run along
/// `channel_axis`.
void apply_epilogue(const Call& call, HostTensor& result, std::size_t channel_axis);

}  // namespace facet::reference
