#pragma once

#include <memory>

#include "backends/backend.h"

namespace facet::cpu {

/// y[c] = sum of x over all axes but `axis`, y f32 [C]: the gradient of a bias. x is strided in any
/// way. Throws Error(failure) that names the node for blocked views and dtypes that are no float
/// of at most 32 bits.
std::unique_ptr<Kernel> make_column_sums(const Node& node, const View& x, std::size_t axis,
                                         const View& y);

}  // namespace facet::cpu
