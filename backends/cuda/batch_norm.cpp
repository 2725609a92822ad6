#include "backends/cuda/batch_norm.h"

#include "backends/cuda/device_views.h"

namespace facet::cuda {
namespace {

OperationGraph forward_graph(const Node& node, std::span<const View> operands,
                             std::span<const View> results) {
  const std::int64_t channels = operands[0].type.shape[1].factor;
  const Strings& tail = node.attributes().strings("tail");
  GraphWriter graph;
  GraphStep norm;
  norm.op = GraphOp::batch_norm;
  norm.operands.push_back(graph.operand(0, operands[0]));
  for (int i = 1; i < 5; ++i) {
    norm.operands.push_back(graph.channels(i, operands[static_cast<std::size_t>(i)], channels));
  }
  const int result = graph.result(0, results[0]);
  int v = graph.inside(result);
  norm.result = v;
  for (int i = 1; i < 5; ++i) {
    norm.more_results.push_back(graph.channels_result(i, results[static_cast<std::size_t>(i)]));
  }
  norm.settings = {node.attributes().number("epsilon"), node.attributes().number("momentum")};
  graph.step(std::move(norm));
  for (const std::string& entry : tail) {
    v = entry == "add" ? graph.step(GraphOp::add, {v, graph.operand(5, operands[5])})
                       : graph.step(GraphOp::relu, {v});
  }
  return graph.finish_in(v, result);
}

OperationGraph backward_graph(std::span<const View> operands, std::span<const View> results) {
  const std::int64_t channels = operands[1].type.shape[1].factor;
  GraphWriter graph;
  GraphStep norm;
  norm.op = GraphOp::batch_norm_gradient;
  for (int i = 0; i < 5; ++i) {
    const View& view = operands[static_cast<std::size_t>(i)];
    norm.operands.push_back(i < 2 ? graph.operand(i, view) : graph.channels(i, view, channels));
  }
  norm.result = graph.result(0, results[0]);
  norm.more_results = {graph.channels_result(1, results[1]), graph.channels_result(2, results[2])};
  graph.step(std::move(norm));
  return graph.finish();
}

}  // namespace

std::optional<OperationGraph> batch_norm_graph(const Node& node, std::span<const View> operands,
                                               std::span<const View> results) {
  const bool forward = node.is("batch_norm_train");
  if (!forward && !node.is("batch_norm_bwd")) return std::nullopt;
  if (operands[forward ? 0 : 1].type.rank() != 4) return std::nullopt;
  const Strings& tail = node.attributes().strings("tail");
  if (!forward) {
    if (!tail.empty() && tail != Strings{"add"}) return std::nullopt;
    return backward_graph(operands, results);
  }
  for (const std::string& entry : tail) {
    if (entry != "relu" && entry != "add") return std::nullopt;
  }
  return forward_graph(node, operands, results);
}

std::optional<OperationGraph> batch_norm_graph(const Node& node) {
  return batch_norm_graph(node, operand_views(node), result_views(node));
}

}  // namespace facet::cuda
