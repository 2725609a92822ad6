#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"

namespace facet::cpu {

/// conv_bwd_weights' result 0 as products of matrices: a 3 x 3 window moved by one by Winograd's
/// algorithm, in bf16 all others tap by tap. Images NHWC, the result dense and row-major; null
/// where the node or a view does not suit.
std::unique_ptr<Kernel> lower_weights_products(const Node& node, std::span<const View> operands,
                                               const View& result);

}  // namespace facet::cpu
