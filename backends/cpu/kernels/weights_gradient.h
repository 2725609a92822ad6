#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"

/// Gradients of a conv's weights by the tiles of the direct convolution: sums over pixels of dy
/// times x, for all taps. dy takes the place of the weights there, and x, turned so that a
/// channel's pixels follow each other, that of the image.
namespace facet::cpu {

/// conv_bwd_weights' result 0. Null where the node or a view does not suit (groups, dtypes without
/// tiles on this machine, images that are no rows of channels, a result that is not dense
/// row-major) and where packing would take longer than it gains.
std::unique_ptr<Kernel> lower_weights_gradient(const Node& node, std::span<const View> operands,
                                               const View& result);

}  // namespace facet::cpu
