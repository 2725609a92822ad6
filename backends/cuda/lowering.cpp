#include "backends/cuda/lowering.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "backends/cuda/attention.h"
#include "backends/cuda/batch_norm.h"
#include "backends/cuda/convolution.h"
#include "backends/cuda/kernels/attention_gradient.h"
#include "backends/cuda/kernels/batch_norm.h"
#include "backends/cuda/kernels/batch_norm_apply.h"
#include "backends/cuda/kernels/copy.h"
#include "backends/cuda/kernels/dropout.h"
#include "backends/cuda/kernels/elementwise.h"
#include "backends/cuda/kernels/gate.h"
#include "backends/cuda/kernels/gather.h"
#include "backends/cuda/kernels/labels.h"
#include "backends/cuda/kernels/layer_norm.h"
#include "backends/cuda/kernels/pooling.h"
#include "backends/cuda/kernels/prelu.h"
#include "backends/cuda/kernels/reduce_max.h"
#include "backends/cuda/kernels/reduction.h"
#include "backends/cuda/kernels/relative_attention.h"
#include "backends/cuda/kernels/resize.h"
#include "backends/cuda/kernels/single_update.h"
#include "backends/cuda/kernels/softmax.h"
#include "backends/cuda/matmul.h"
#include "backends/cuda/pooling.h"
#include "ir/epilogue.h"
#include "ir/error.h"
#include "ir/layout.h"

namespace facet::cuda {
namespace {

using Views = std::span<const View>;

bool is_kernel_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

/// Whether all it reads and makes is of the types that kernels compute with.
bool is_of_floats(const Node& node) {
  const auto operands = node.operands();
  const auto results = node.result_types();
  return std::all_of(operands.begin(), operands.end(),
                     [](const Value& value) { return is_kernel_float(value.dtype()); }) &&
         std::all_of(results.begin(), results.end(),
                     [](const Type& type) { return is_kernel_float(type.dtype); });
}

Lowered lowered(KernelSource kernel) {
  Lowered result;
  result.launches.emplace_back(std::move(kernel));
  return result;
}

Lowered lowered(KernelSequence sequence) {
  Lowered result;
  std::move(sequence.kernels.begin(), sequence.kernels.end(), std::back_inserter(result.launches));
  result.scratch_bytes = sequence.scratch_bytes;
  return result;
}

Lowered lowered(OperationGraph graph) {
  Lowered result;
  for (const GraphTensor& tensor : graph.tensors) {
    if (tensor.place != GraphTensor::Place::scratch) continue;
    std::int64_t elements = 1;
    for (const std::int64_t extent : tensor.extents) elements *= extent;
    result.scratch_bytes = std::max(result.scratch_bytes, elements * size_of(tensor.dtype));
  }
  result.launches.emplace_back(std::move(graph));
  return result;
}

void append(Lowered& to, KernelSequence sequence) {
  std::move(sequence.kernels.begin(), sequence.kernels.end(), std::back_inserter(to.launches));
  to.scratch_bytes = std::max(to.scratch_bytes, sequence.scratch_bytes);
}

/// Converts what lies in scratch into result 0.
KernelSource convert_scratch(const View& from, const View& to) {
  Graph graph("convert");
  const Type type{from.type.dtype, from.type.shape, {}};
  const Value x =
      graph.create("input", {}, {{"name", std::string("x")}, {"type", to_string(type)}})->result();
  const Node* cast = graph.create("cast", {x}, {{"dtype", std::string(to_string(to.type.dtype))}});
  KernelSource kernel = elementwise_kernel(*cast, {&from, 1}, to);
  for (KernelArgument& argument : kernel.arguments) {
    if (argument.place == KernelArgument::Place::operand) {
      argument = {KernelArgument::Place::scratch, 0};
    }
  }
  return kernel;
}

// Leaves: the runtime puts them where they are read.

bool supports_leaf(const LoweringContext&, const Node& node) {
  return node.is("input") || node.is("parameter") || node.is("constant");
}

// Results without an element: nothing to launch.

bool supports_empty(const LoweringContext&, const Node& node) {
  const auto results = node.result_types();
  return !results.empty() && std::all_of(results.begin(), results.end(), [](const Type& type) {
    return std::any_of(type.shape.begin(), type.shape.end(),
                       [](const Dim& dim) { return dim.factor == 0; });
  });
}

Lowered lower_nothing(const LoweringContext&, const Node&, Views, Views) { return {}; }

// cuDNN's list of engines promises a plan; whether there is one only building it on the device
// shows.

bool builds(const LoweringContext& context, const OperationGraph& graph) {
  try {
    context.driver.plan(graph, context.rules);
    return true;
  } catch (const Error&) {
    return false;
  }
}

bool builds(const LoweringContext& context, const Lowered& lowered) {
  return std::ranges::all_of(lowered.launches, [&](const Launch& launch) {
    const auto* graph = std::get_if<OperationGraph>(&launch);
    return graph == nullptr || builds(context, *graph);
  });
}

/// The graph, where there is one that runs on the device.
std::optional<OperationGraph> where_built(const LoweringContext& context,
                                          std::optional<OperationGraph> graph) {
  graph = where_planned(context.planner, std::move(graph), context.rules);
  if (graph && !builds(context, *graph)) graph.reset();
  return graph;
}

// Convolutions. Branches are no better in one node: they are graphs of their own anyway.

bool supports_convolution(const LoweringContext&, const Node& node) {
  return is_convolution(node) && !node.is("conv_branches") && is_of_floats(node);
}

Lowered lower_fused(const Node& node, Views operands, Views results, WeightSums sums) {
  Lowered result;
  for (OperationGraph& graph : convolution_graphs(node, operands, results, sums)) {
    result.launches.emplace_back(std::move(graph));
  }
  if (sums == WeightSums::rounded) {
    View rounded = results[0];
    rounded.type.dtype = operands[1].type.dtype;
    result.scratch_bytes = byte_size(rounded.type);
    result.launches.emplace_back(convert_scratch(rounded, results[0]));
  }
  if (node.is("conv_bwd_weights") && results.size() > 1) {
    append(result, reduction_kernels("reduce_sum", {0, 2, 3}, operands[0], 0, results[1], 1));
  }
  return result;
}

Lowered lower_unfused(const Node& node, Views operands, Views results, DType sums) {
  UnfusedConvolution parts = unfused_convolution(node, operands, results, sums);
  Lowered result;
  result.scratch_bytes = parts.scratch_bytes;
  result.launches.emplace_back(std::move(parts.graph));
  result.launches.emplace_back(std::move(parts.epilogue));
  return result;
}

Lowered lower_convolution(const LoweringContext& context, const Node& node, Views operands,
                          Views results) {
  const WeightSums sums = plan_convolution(context.planner, node, context.rules).sums;
  Lowered best = lower_fused(node, operands, results, sums);
  if (builds(context, best)) return best;
  std::vector<Lowered> others;
  const bool rounds = results[0].type.dtype != operands[1].type.dtype;
  if (node.is("conv_bwd_weights") && rounds && sums == WeightSums::kept) {
    others.push_back(lower_fused(node, operands, results, WeightSums::rounded));
  }
  if (node.is("conv") && !epilogue_of(node).empty()) {
    others.push_back(lower_unfused(node, operands, results, DType::f32));
    others.push_back(lower_unfused(node, operands, results, operands[0].type.dtype));
  }
  const auto other =
      std::ranges::find_if(others, [&](const Lowered& one) { return builds(context, one); });
  return other != others.end() ? std::move(*other) : best;  // whose plan says what is missing
}

// Norms, pooling and attention: a cuDNN graph where the device has an engine, else kernels.

bool supports_batch_norm(const LoweringContext&, const Node& node) {
  return is_batch_norm(node) && is_of_floats(node);
}

Lowered lower_batch_norm(const LoweringContext& context, const Node& node, Views operands,
                         Views results) {
  auto graph = where_built(context, batch_norm_graph(node, operands, results));
  return graph ? lowered(*std::move(graph)) : lowered(batch_norm_kernels(node, operands, results));
}

bool supports_pooling(const LoweringContext&, const Node& node) {
  return is_pooling(node) && is_of_floats(node);
}

Lowered lower_pooling(const LoweringContext& context, const Node& node, Views operands,
                      Views results) {
  auto graph = where_built(context, pooling_graph(node, operands, results));
  return graph ? lowered(*std::move(graph)) : lowered(pooling_kernels(node, operands, results));
}

/// Where no kernel could stand in for the graph, its plan must build.
bool supports_attention(const LoweringContext& context, const Node& node) {
  if (!node.is("sdpa") || !is_of_floats(node) || !attention_refusal(node).empty()) return false;
  const auto graph = where_planned(context.planner, attention_graph(node), context.rules);
  return graph && (is_relative_attention(node) || builds(context, *graph));
}

Lowered lower_attention(const LoweringContext& context, const Node& node, Views operands,
                        Views results) {
  OperationGraph graph = attention_graph(node, operands, results).value();
  if (is_relative_attention(node) && !builds(context, graph)) {
    return lowered(relative_attention_kernels(node, operands, results[0]));
  }
  return lowered(std::move(graph));
}

/// The graphs, where there are some that run on the device.
std::optional<AttentionGradientGraphs> where_built(const LoweringContext& context,
                                                   std::optional<AttentionGradientGraphs> graphs) {
  if (graphs &&
      (!where_built(context, graphs->forward) || !where_built(context, graphs->backward))) {
    graphs.reset();
  }
  return graphs;
}

bool supports_attention_gradient(const LoweringContext& context, const Node& node) {
  return node.is("sdpa_bwd") && is_of_floats(node) &&
         (is_attention_gradient(node) ||
          where_built(context, attention_gradient_graphs(node)).has_value());
}

Lowered lower_attention_gradient(const LoweringContext& context, const Node& node, Views operands,
                                 Views results) {
  auto graphs = where_built(context, attention_gradient_graphs(node, operands, results));
  if (!graphs) return lowered(attention_gradient_kernels(node, operands, results));
  Lowered result;
  result.launches.emplace_back(std::move(graphs->forward));
  result.launches.emplace_back(std::move(graphs->backward));
  result.scratch_bytes = graphs->scratch_bytes;
  result.scratch = std::move(graphs->scratch);
  return result;
}

// Matrix products.

bool supports_matmul(const LoweringContext&, const Node& node) {
  return is_matmul(node) && is_of_floats(node);
}

Lowered lower_matmul(const LoweringContext& context, const Node& node, Views operands,
                     Views results) {
  MatmulOptions options;
  options.tf32 = context.rules.tf32;
  MatmulPlan plan = matmul_plan(node, operands, results, options);
  const bool runs = std::all_of(
      plan.products.begin(), plan.products.end(),
      [&](const Matmul& product) { return context.driver.choose(product).has_value(); });
  if (!runs) {
    options.separate_bias_gradient = true;
    plan = matmul_plan(node, operands, results, options);
  }
  Lowered result;
  result.scratch_bytes = plan.scratch_bytes;
  const auto add = [&](auto& launches) {
    std::move(launches.begin(), launches.end(), std::back_inserter(result.launches));
  };
  add(plan.before);
  add(plan.products);
  add(plan.after);
  return result;
}

// Generated kernels.

bool supports_relative_attention(const LoweringContext&, const Node& node) {
  return is_relative_attention(node) && is_of_floats(node);
}

Lowered lower_relative_attention(const LoweringContext&, const Node& node, Views operands,
                                 Views results) {
  return lowered(relative_attention_kernels(node, operands, results[0]));
}

bool supports_elementwise(const LoweringContext&, const Node& node) {
  return is_elementwise(node) && is_of_floats(node);
}

Lowered lower_elementwise(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(elementwise_kernel(node, operands, results[0]));
}

bool supports_reduction(const LoweringContext&, const Node& node) {
  return is_reduction(node) && is_of_floats(node);
}

Lowered lower_reduction(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(reduction_kernels(node, operands[0], results[0]));
}

bool supports_softmax(const LoweringContext&, const Node& node) {
  return (node.is("softmax") || node.is("softmax_bwd")) && is_of_floats(node);
}

Lowered lower_softmax(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(softmax_kernel(node, operands, results[0]));
}

bool supports_gate(const LoweringContext&, const Node& node) {
  return is_gate(node) && is_of_floats(node);
}

Lowered lower_gate(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(gate_kernels(node, operands, results[0]));
}

bool supports_layer_norm(const LoweringContext&, const Node& node) {
  return is_layer_norm(node) && is_of_floats(node);
}

Lowered lower_layer_norm(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(layer_norm_kernels(node, operands, results[0]));
}

bool supports_prelu_bwd(const LoweringContext&, const Node& node) {
  return is_prelu_bwd(node) && is_of_floats(node);
}

Lowered lower_prelu_bwd(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(prelu_bwd_kernels(node, operands, results));
}

bool supports_reduce_max_bwd(const LoweringContext&, const Node& node) {
  return is_reduce_max_bwd(node) && is_of_floats(node);
}

Lowered lower_reduce_max_bwd(const LoweringContext&, const Node& node, Views operands,
                             Views results) {
  return lowered(reduce_max_bwd_kernels(node, operands, results[0]));
}

bool supports_dropout(const LoweringContext&, const Node& node) {
  return is_dropout(node) && is_of_floats(node);
}

Lowered lower_dropout(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(dropout_kernels(node, operands, results[0]));
}

bool supports_labels(const LoweringContext&, const Node& node) { return is_labels(node); }

Lowered lower_labels(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(labels_kernels(node, operands, results));
}

bool supports_batch_norm_apply(const LoweringContext&, const Node& node) {
  return is_batch_norm_apply(node) && is_of_floats(node);
}

Lowered lower_batch_norm_apply(const LoweringContext&, const Node& node, Views operands,
                               Views results) {
  return lowered(batch_norm_apply_kernels(node, operands, results[0]));
}

bool supports_resize(const LoweringContext&, const Node& node) {
  return is_resize(node) && is_of_floats(node);
}

Lowered lower_resize(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(resize_kernels(node, operands[0], results[0]));
}

bool supports_gather(const LoweringContext&, const Node& node) { return is_gather(node); }

Lowered lower_gather(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(gather_kernels(node, operands, results[0]));
}

bool supports_single_update(const LoweringContext&, const Node& node) {
  return is_single_update(node);
}

Lowered lower_single_update(const LoweringContext&, const Node& node, Views, Views) {
  return lowered(single_update_kernels(node));
}

bool supports_update(const LoweringContext&, const Node& node) {
  return is_update(node) && is_of_floats(node);
}

Lowered lower_updates(std::span<const Node* const> nodes) {
  Lowered result;
  result.launches.emplace_back(update_kernel(nodes));
  return result;
}

Lowered lower_update(const LoweringContext&, const Node& node, Views, Views) {
  const Node* const nodes[] = {&node};
  return lower_updates(nodes);
}

bool supports_copy(const LoweringContext&, const Node& node) { return is_copy(node); }

Lowered lower_copy(const LoweringContext&, const Node& node, Views operands, Views results) {
  return lowered(copy_kernels(node, operands, results[0]));
}

}  // namespace

const std::vector<LoweringFamily>& lowering_families() {
  static const std::vector<LoweringFamily> families = {
      {"leaf", supports_leaf, nullptr, lower_nothing},
      {"empty", supports_empty, nullptr, lower_nothing},
      {"convolution", supports_convolution, convolution_layouts, lower_convolution},
      {"matmul", supports_matmul, nullptr, lower_matmul},
      {"norm application", supports_batch_norm_apply, nullptr, lower_batch_norm_apply, true},
      {"batch norm", supports_batch_norm, nullptr, lower_batch_norm},
      {"pooling", supports_pooling, nullptr, lower_pooling},
      {"attention", supports_attention, attention_layouts, lower_attention},
      {"relative attention", supports_relative_attention, relative_attention_layouts,
       lower_relative_attention},
      {"attention gradient", supports_attention_gradient, attention_gradient_layouts,
       lower_attention_gradient},
      {"gate", supports_gate, gate_layouts, lower_gate},
      {"elementwise", supports_elementwise, nullptr, lower_elementwise, true},
      {"reduction", supports_reduction, nullptr, lower_reduction, true},
      {"softmax", supports_softmax, nullptr, lower_softmax, true},
      {"resize", supports_resize, nullptr, lower_resize},
      {"gather", supports_gather, nullptr, lower_gather},
      {"layer norm", supports_layer_norm, nullptr, lower_layer_norm},
      {"prelu gradient", supports_prelu_bwd, nullptr, lower_prelu_bwd, true},
      {"maximum gradient", supports_reduce_max_bwd, nullptr, lower_reduce_max_bwd},
      {"dropout", supports_dropout, nullptr, lower_dropout, true},
      {"labels", supports_labels, nullptr, lower_labels},
      {"update", supports_update, nullptr, lower_update, false, updates_together, lower_updates},
      {"update of its own", supports_single_update, nullptr, lower_single_update},
      {"copy", supports_copy, nullptr, lower_copy, true},
  };
  return families;
}

const LoweringFamily* find_family(const LoweringContext& context, const Node& node) {
  for (const LoweringFamily& family : lowering_families()) {
    if (family.supports(context, node)) return &family;
  }
  return nullptr;
}

}  // namespace facet::cuda
