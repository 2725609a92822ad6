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

/// The graph of an sdpa; the logarithms [N, heads, queries, 1], f32, are in scratch 0. Nothing for
/// a node with a refusal. Throws Error(failure) for views in which the channels of a token are not
/// side by side.
std::optional<OperationGraph> attention_graph(const Node& node, std::span<const View> operands,
                                              std::span<const View> results);
/// The same for dense values in `attention_layouts`.
std::optional<OperationGraph> attention_graph(const Node& node);

/// An sdpa_bwd: its sdpa once more, then its gradients, which read of the first y in scratch 0 and
/// the logarithms in scratch 1 and leave sum(dy * y) [N, heads, queries, 1], f32, in scratch 2.
struct AttentionGradientGraphs {
  OperationGraph forward, backward;
  std::vector<std::int64_t> scratch;  ///< where each part begins, in bytes
  std::int64_t scratch_bytes = 0;
};

/// Nothing for another node, for an sdpa that is no such graph or is clamped, where the gradient of
/// a bias is wanted (which engines round to 16 bits), and where q, k or v have channels that no
/// head reads. Throws as `attention_graph`.
///
/// The form is the one that keeps dq in one piece, which engines add up in a fixed order.
std::optional<AttentionGradientGraphs> attention_gradient_graphs(const Node& node,
                                                                 std::span<const View> operands,
                                                                 std::span<const View> results);
/// The same for dense values whose tokens' channels are side by side.
std::optional<AttentionGradientGraphs> attention_gradient_graphs(const Node& node);

}  // namespace facet::cuda
