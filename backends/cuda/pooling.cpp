#include "backends/cuda/pooling.h"

#include "backends/cuda/device_views.h"

namespace facet::cuda {

std::optional<OperationGraph> pooling_graph(const Node& node, std::span<const View> operands,
                                            std::span<const View> results) {
  const GraphOp op = node.is("max_pool")   ? GraphOp::max_pool
                     : node.is("avg_pool") ? GraphOp::avg_pool
                                           : GraphOp::avg_pool_gradient;
  if (op == GraphOp::avg_pool_gradient && !node.is("avg_pool_bwd")) return std::nullopt;
  const Attributes& a = node.attributes();
  GraphWriter graph;
  const int from = graph.operand(0, operands[0]);
  const int to = graph.result(0, results[0]);
  graph.step(op, {from}, to, {a.ints("strides"), a.ints("pads"), {}, a.ints("kernel")});
  return graph.finish();
}

std::optional<OperationGraph> pooling_graph(const Node& node) {
  return pooling_graph(node, operand_views(node), result_views(node));
}

}  // namespace facet::cuda
