#include "backends/cuda/convolution.h"

#include <fmt/format.h>

#include "backends/cuda/device_views.h"
#include "backends/cuda/kernels/elementwise.h"
#include "ir/epilogue.h"
#include "ir/error.h"
#include "ir/layout.h"

namespace facet::cuda {
namespace {

Window window_of(const Node& node) {
  const Attributes& a = node.attributes();
  return {a.ints("strides"), a.ints("pads"), a.ints("dilations"), {}};
}

/// Channels `first` to `first + count` of what a conv computes.
struct Branch {
  int result = 0;
  std::int64_t first = 0;
  std::int64_t count = 0;
};

/// max(v, 0) - slope * max(-v, 0): no difference of infinities.
int prelu(GraphWriter& graph, int v, int slope) {
  const int positive = graph.step(GraphOp::relu, {v});
  const int negative = graph.step(GraphOp::relu, {graph.step(GraphOp::negate, {v})});
  const int scaled = graph.step(GraphOp::multiply, {negative, slope});
  return graph.step(GraphOp::subtract, {positive, scaled});
}

/// The value behind one epilogue entry.
int apply_entry(GraphWriter& graph, int v, const EpilogueEntry& entry,
                std::span<const View> operands, const Branch& branch) {
  if (entry.name == "relu") return graph.step(GraphOp::relu, {v});
  if (entry.name == "sigmoid") return graph.step(GraphOp::sigmoid, {v});
  const View& view = operands[static_cast<std::size_t>(entry.operand)];
  if (entry.name == "bias" || entry.name == "prelu") {
    const int extra = graph.channels(entry.operand, view, branch.count, branch.first);
    return entry.name == "bias" ? graph.step(GraphOp::add, {v, extra}) : prelu(graph, v, extra);
  }
  const int extra = graph.operand(entry.operand, view);
  return graph.step(entry.name == "add" ? GraphOp::add : GraphOp::multiply, {v, extra});
}

OperationGraph forward_graph(const Node& node, const std::vector<EpilogueEntry>& entries,
                             std::span<const View> operands, std::span<const View> results,
                             const Branch& branch) {
  GraphWriter graph;
  View weight = operands[1];
  const std::int64_t row = weight.strides.empty() ? 0 : weight.strides[0];
  weight.type.shape[0] = branch.count;
  const int x = graph.operand(0, operands[0]);
  const int w = graph.operand(1, weight, branch.first * row);
  const int result = graph.result(branch.result, results[static_cast<std::size_t>(branch.result)]);
  int v = graph.inside(result);
  graph.step(GraphOp::convolution, {x, w}, v, window_of(node));
  for (const EpilogueEntry& entry : entries) v = apply_entry(graph, v, entry, operands, branch);
  return graph.finish_in(v, result);
}

std::vector<OperationGraph> forward_graphs(const Node& node,
                                           const std::vector<EpilogueEntry>& entries,
                                           std::span<const View> operands,
                                           std::span<const View> results) {
  std::vector<OperationGraph> graphs;
  Branch branch;
  for (std::size_t i = 0; i < results.size(); ++i) {
    branch.result = static_cast<int>(i);
    branch.count = results[i].type.shape[1].factor;
    graphs.push_back(forward_graph(node, entries, operands, results, branch));
    branch.first += branch.count;
  }
  return graphs;
}

OperationGraph data_gradient_graph(const Node& node, std::span<const View> operands,
                                   std::span<const View> results) {
  GraphWriter graph;
  const int dy = graph.operand(0, operands[0]);
  const int w = graph.operand(1, operands[1]);
  const int dx = graph.result(0, results[0]);
  graph.step(GraphOp::data_gradient, {dy, w}, dx, window_of(node));
  return graph.finish();
}

OperationGraph weights_gradient_graph(const Node& node, std::span<const View> operands,
                                      std::span<const View> results, WeightSums sums) {
  GraphWriter graph;
  const int dy = graph.operand(0, operands[0]);
  const int x = graph.operand(1, operands[1]);
  const DType factors = operands[1].type.dtype;
  if (factors == results[0].type.dtype) {
    graph.step(GraphOp::weights_gradient, {dy, x}, graph.result(0, results[0]), window_of(node));
  } else if (sums == WeightSums::rounded) {
    View rounded = results[0];
    rounded.type.dtype = factors;
    graph.step(GraphOp::weights_gradient, {dy, x}, graph.scratch(0, rounded), window_of(node));
  } else {
    const int dw = graph.result(0, results[0]);
    const int sum = graph.inside(dw);
    graph.step(GraphOp::weights_gradient, {dy, x}, sum, window_of(node));
    graph.step(GraphOp::copy, {sum}, dw);
  }
  return graph.finish();
}

/// The first graph for which the device has no engine; null if there is none.
const OperationGraph* find_refused(CudnnPlanner& planner, const std::vector<OperationGraph>& graphs,
                                   const EngineRules& rules) {
  for (const OperationGraph& graph : graphs) {
    if (planner.engines(graph, rules).empty()) return &graph;
  }
  return nullptr;
}

}  // namespace

bool is_convolution(const Node& node) {
  return node.is("conv") || node.is("conv_branches") || node.is("conv_bwd_data") ||
         node.is("conv_bwd_weights");
}

LayoutChoice convolution_layouts(const Node& node) {
  LayoutChoice choice;
  for (const View& view : operand_views(node)) choice.operands.push_back(view.type.layout);
  for (const View& view : result_views(node)) choice.results.push_back(view.type.layout);
  return choice;
}

std::vector<OperationGraph> convolution_graphs(const Node& node, std::span<const View> operands,
                                               std::span<const View> results, WeightSums sums) {
  if (node.is("conv") || node.is("conv_branches")) {
    return forward_graphs(node, epilogue_of(node), operands, results);
  }
  if (node.is("conv_bwd_data")) return {data_gradient_graph(node, operands, results)};
  if (node.is("conv_bwd_weights")) return {weights_gradient_graph(node, operands, results, sums)};
  throw failure(fmt::format("'{}' is no convolution", node.kind()));
}

std::vector<OperationGraph> convolution_graphs(const Node& node, WeightSums sums) {
  return convolution_graphs(node, operand_views(node), result_views(node), sums);
}

ConvolutionPlan plan_convolution(CudnnPlanner& planner, const Node& node,
                                 const EngineRules& rules) {
  ConvolutionPlan plan{convolution_graphs(node), WeightSums::kept};
  const OperationGraph* refused = find_refused(planner, plan.graphs, rules);
  if (refused != nullptr && node.is("conv_bwd_weights")) {
    plan = {convolution_graphs(node, WeightSums::rounded), WeightSums::rounded};
    refused = find_refused(planner, plan.graphs, rules);
  }
  if (refused == nullptr) return plan;
  throw failure(fmt::format("cuDNN has no engine on this device for {} '{}', the graph\n{}",
                            node.kind(), node.provenance().scope, to_text(*refused)));
}

UnfusedConvolution unfused_convolution(const Node& node, std::span<const View> operands,
                                       std::span<const View> results, DType sums) {
  View sum = results[0];
  sum.type.dtype = sums;
  sum.strides = dense_strides(sum.type);
  GraphWriter graph;
  const int x = graph.operand(0, operands[0]);
  const int w = graph.operand(1, operands[1]);
  graph.step(GraphOp::convolution, {x, w}, graph.scratch(0, sum), window_of(node));

  const std::vector<EpilogueEntry> entries = epilogue_of(node);
  std::vector<PlacedView> inputs{{{KernelArgument::Place::scratch, 0}, sum}};
  for (const EpilogueEntry& entry : entries) {
    if (entry.operand < 0) continue;
    const View& extra = operands[static_cast<std::size_t>(entry.operand)];
    const bool is_vector = extra.type.rank() == 1;
    inputs.push_back({{KernelArgument::Place::operand, entry.operand},
                      is_vector ? along_channels(extra, sum.type.rank()) : extra});
  }
  std::vector<ElementwiseInstruction> program;
  std::size_t next_input = 1;
  for (const EpilogueEntry& entry : entries) {
    ElementwiseInstruction instruction;
    instruction.op = entry.name == "bias" ? "add" : entry.name;
    instruction.arguments.push_back(
        {false, 0, program.empty() ? 0 : inputs.size() + program.size() - 1});
    if (entry.operand >= 0) instruction.arguments.push_back({false, 0, next_input++});
    program.push_back(std::move(instruction));
  }
  const PlacedView result{{KernelArgument::Place::result, 0}, results[0]};
  return {graph.finish(), elementwise_kernel(program, inputs, result), byte_size(sum.type)};
}

std::vector<OperationGraph> graphs_with_entry(const Node& node, std::string_view entry,
                                              const Type* extra) {
  if (!node.is("conv") || !is_epilogue_entry(entry)) return {};
  if (epilogue_reads_operand(entry) != (extra != nullptr)) return {};
  std::vector<EpilogueEntry> entries = epilogue_of(node);
  std::vector<View> operands = operand_views(node);
  entries.push_back({std::string(entry), -1});
  if (extra != nullptr) {
    const Shape& result = node.result_types()[0].shape;
    const bool per_channel = extra->shape == Shape{result[1]};
    const bool fits = entry == "add" ? extra->shape == result
                      : entry == "mul"
                          ? extra->rank() == 4 && broadcast(result, extra->shape) == result
                      : entry == "bias" ? per_channel
                                        : per_channel || extra->shape == Shape{1};
    if (!fits) return {};
    entries.back().operand = static_cast<int>(operands.size());
    operands.push_back(device_view(*extra));
  }
  return forward_graphs(node, entries, operands, result_views(node));
}

}  // namespace facet::cuda
