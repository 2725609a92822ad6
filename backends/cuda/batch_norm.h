#pragma once

#include <optional>
#include <span>

#include "backends/cuda/operation_graph.h"

namespace facet::cuda {

/// The cuDNN graph of batch_norm_train with the tail none, relu, add, or add and relu, or of
/// batch_norm_bwd with the tail none or add; images are NHWC. Whether a device has an engine for it
/// is the planner's to say: cuDNN 9.19 has none for add alone, nor in 16 bits for channels that are
/// no multiple of 8. Nothing for other nodes: a prelu behind the norm, and what masks dy ahead of a
/// gradient, are for the kernels of kernels/batch_norm.h (cuDNN has engines with a mask in memory
/// in f32 only, and masking by a kernel of its own would move more bytes than those kernels do).
std::optional<OperationGraph> batch_norm_graph(const Node& node, std::span<const View> operands,
                                               std::span<const View> results);
/// The same for dense NHWC values.
std::optional<OperationGraph> batch_norm_graph(const Node& node);

}  // namespace facet::cuda
