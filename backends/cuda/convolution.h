#pragma once

#include <span>
#include <vector>

#include "backends/cuda/cudnn_planner.h"
#include "backends/cuda/kernels/kernel_source.h"
#include "backends/cuda/operation_graph.h"
#include "passes/target.h"

/// Convolutions and their gradients on the GPU: which cuDNN graphs they are.
namespace facet::cuda {

/// conv, conv_branches, conv_bwd_data, conv_bwd_weights.
bool is_convolution(const Node& node);

/// NHWC for every image and [O, kh, kw, C / groups] for weights; other operands as they are.
LayoutChoice convolution_layouts(const Node& node);

/// What becomes of the f32 sums that a gradient of 16-bit weights is made of.
enum class WeightSums {
  kept,    ///< they are the result
  rounded  ///< to the factors' type, in scratch: cuDNN has more engines for that
};

/// The graphs that a convolution is lowered to, to be run in order; views in node order, with
/// static shapes. A convolution is one graph with its epilogue in f32 behind the accumulators.
/// Branches are one graph each, on their rows of the weight. The gradient of a bias is not among
/// them: it is a sum and no convolution. Throws Error(failure) for another node or a blocked
/// layout.
std::vector<OperationGraph> convolution_graphs(const Node& node, std::span<const View> operands,
                                               std::span<const View> results,
                                               WeightSums sums = WeightSums::kept);
/// The same for dense values in `convolution_layouts`.
std::vector<OperationGraph> convolution_graphs(const Node& node,
                                               WeightSums sums = WeightSums::kept);

/// How a device computes a convolution.
struct ConvolutionPlan {
  std::vector<OperationGraph> graphs;
  WeightSums sums = WeightSums::kept;  ///< rounded: scratch 0 is to be converted into result 0
};

/// The graphs for which the device has engines within the rules: sums of gradients are kept if they
/// can be. Throws Error(failure) with the graph that has none.
ConvolutionPlan plan_convolution(CudnnPlanner& planner, const Node& node, const EngineRules& rules);

/// A conv and its epilogue apart, for a device that builds no plan for both at once: the graph
/// writes its sums as `sums` to scratch 0, from where the kernel goes on.
struct UnfusedConvolution {
  OperationGraph graph;
  KernelSource epilogue;
  std::int64_t scratch_bytes = 0;
};
UnfusedConvolution unfused_convolution(const Node& node, std::span<const View> operands,
                                       std::span<const View> results, DType sums);

/// The graphs of a conv with `entry` behind its epilogue; `extra` is the type of the operand that
/// the entry reads, null for one that reads none. Empty if the entry does not fit the node's
/// result. A symbolic extent counts as 8: whether an entry is taken must not depend on the batch.
std::vector<OperationGraph> graphs_with_entry(const Node& node, std::string_view entry,
                                              const Type* extra);

}  // namespace facet::cuda
