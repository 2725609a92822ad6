#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/operation_graph.h"
#include "passes/target.h"

/// The op `sdpa` (ir/sdpa.h) as one cuDNN graph: products, softmax and weighted sum in the form
/// that cuDNN's attention engines recognise, so that no score is in memory. Scores may be scaled by
/// a number, clamped and biased; the result may have a scale and a shift per channel.
///
/// These engines exist for bf16 and f16 and, rounding factors to tf32, for f32. They want the
/// weights in the type of the values and the logarithm of the softmax's denominator in memory
/// (cuDNN 9.19 has no engine for a graph without it), which training needs anyway.
namespace facet::cuda {

/// Why an sdpa is no such graph: "it has relative_query"; empty for one that is.
std::string attention_refusal(const Node& node);

/// Layouts in which the channels of a token lie side by side.
LayoutChoice attention_layouts(const Node& node);

/// What becomes of the logarithms [N, heads, queries, 1], f32.
enum class SoftmaxStatistics {
  dropped,  ///< they are in scratch 0
  kept      ///< they are result 1
};

/// The graph of an sdpa. Nothing for a node with a refusal. Throws Error(failure) for views in
/// which the channels of a token are not side by side.
std::optional<OperationGraph> attention_graph(
    const Node& node, std::span<const View> operands, std::span<const View> results,
    SoftmaxStatistics statistics = SoftmaxStatistics::dropped);
/// The same for dense values in `attention_layouts`.
std::optional<OperationGraph> attention_graph(
    const Node& node, SoftmaxStatistics statistics = SoftmaxStatistics::dropped);

/// The graph of the gradients of an sdpa without clamp, scale and shift per channel. Its operands
/// are those of the sdpa, then y, dy and the logarithms that `SoftmaxStatistics::kept` left; its
/// results are dq, dk, dv and, with a bias, dbias. Scratch 0 takes sum(dy * y) [N, heads, queries,
/// 1], f32. The weights are computed anew. `operands` are the sdpa's views, in which dq, dk and dv
/// lie as well, `result` is the view of y and dy. Nothing for an sdpa that is no such graph.
///
/// The form is the one that keeps dq in one piece, which engines add up in a fixed order.
std::optional<OperationGraph> attention_gradient_graph(const Node& node,
                                                       std::span<const View> operands,
                                                       const View& result);
/// The same for dense values in `attention_layouts`.
std::optional<OperationGraph> attention_gradient_graph(const Node& node);

}  // namespace facet::cuda
