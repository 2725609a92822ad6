#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"

namespace facet::cpu {

/// Whether the reference's float64 evaluator can stand in for a kernel: a plain op (fused ones are
/// decomposed instead) on values without blocks. It is right for every dtype and slow; what runs so
/// is named "oracle" in profiles.
bool takes_oracle(const Node& node);

/// Operands to float64, the evaluator, results back to their dtype: floats round to nearest even,
/// integers truncate and saturate. Views may be strided, not blocked. One thread computes.
/// Throws Error(failure) for a blocked view.
std::unique_ptr<Kernel> lower_oracle(const Node& node, std::span<const View> operands,
                                     std::span<const View> results);

}  // namespace facet::cpu
