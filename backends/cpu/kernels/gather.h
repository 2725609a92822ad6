#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"

namespace facet::cpu {

/// Whether lower_gather runs the node: gather of any dtype, scatter_add of f32, with indices i64 or
/// i32.
bool takes_gather(const Node& node);

/// gather and scatter_add along any axis of strided views; indices outside the axis read zeros and
/// write nothing. Sums are in the order of the indices, so they do not depend on the threads.
std::unique_ptr<Kernel> lower_gather(const Node& node, std::span<const View> operands,
                                     std::span<const View> results);

}  // namespace facet::cpu
