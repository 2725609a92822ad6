#pragma once

#include <optional>
#include <span>

#include "backends/cuda/operation_graph.h"

namespace facet::cuda {

/// The cuDNN graph of max_pool, avg_pool or avg_pool_bwd of images in any plain layout. What cuDNN
/// computes is the op's value: its windows are those of floor mode, padding of a maximum is minus
/// infinity and a NaN is kept, padding of a mean counts as zeros. Whether a device has an engine is
/// the planner's to say: in f32 cuDNN 9.19 has none for the gradient of a mean that stays off the
/// tensor cores, and kernels/pooling.h has kernels for it.
///
/// Nothing for other nodes. The gradient of a maximum is not among them: the op gives all to the
/// first of several largest elements, cuDNN does not say to which; it would read indices that the
/// forward pass does not keep.
std::optional<OperationGraph> pooling_graph(const Node& node, std::span<const View> operands,
                                            std::span<const View> results);
/// The same for dense NHWC values.
std::optional<OperationGraph> pooling_graph(const Node& node);

}  // namespace facet::cuda
