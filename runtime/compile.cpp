#include "runtime/compile.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference.h"
#include "ir/error.h"
#include "ir/op.h"
#include "runtime/compile_internal.h"
#include "runtime/device_modules.h"

namespace facet {
namespace {

/// One node on given operands, by the oracle: what constant folding computes with.
std::vector<HostTensor> evaluate_node(const Node& node, std::span<const HostTensor> operands) {
  Graph graph("constant");
  std::vector<Value> values;
  for (const HostTensor& tensor : operands) {
    values.push_back(graph.create("constant", {}, {{"value", tensor}})->result());
  }
  Node* copy = graph.create(node.op(), values, node.attributes());
  std::vector<HostTensor> results;
  for (int i = 0; i < copy->result_count(); ++i) {
    graph.outputs().push_back({fmt::format("{}", i), copy->result(i)});
  }
  const auto outputs = evaluate(graph, {}, {});
  for (int i = 0; i < copy->result_count(); ++i) results.push_back(outputs.at(fmt::format("{}", i)));
  return results;
}

std::vector<Pass> pipeline_for(const CompileOptions& options) {
  std::vector<Pass> passes;
  // The oracle runs the network as it was declared: it is what fused programs are compared with.
  if (options.optimize && options.device != Device::reference) {
    passes = optimization_pipeline();
  } else {
    passes.push_back(find_pass("eliminate-dead-code"));
  }
  if (options.precision == Precision::bf16) {
    passes.push_back(find_pass("lower-to-bf16"));
    if (options.optimize) passes.push_back(find_pass("eliminate-common-subexpressions"));
  }
  return passes;
}

}  // namespace

Device parse_device(std::string_view name) {
  if (name == "cpu") return Device::cpu;
  if (name == "reference") return Device::reference;
  if (name == "cuda") return Device::cuda;
  throw usage_error(fmt::format("unknown device '{}'; there are cpu, cuda and reference", name));
}

Precision parse_precision(std::string_view name) {
  if (name == "f32") return Precision::f32;
  if (name == "bf16") return Precision::bf16;
  throw usage_error(fmt::format("unknown precision '{}'; there are f32 and bf16", name));
}

std::string_view to_string(Device device) {
  switch (device) {
    case Device::cpu:
      return "cpu";
    case Device::cuda:
      return "cuda";
    default:
      return "reference";
  }
}
std::string_view to_string(Precision precision) {
  return precision == Precision::f32 ? "f32" : "bf16";
}

std::shared_ptr<const Executable> compile(const Graph& graph, const TensorMap& weights,
                                          const CompileOptions& options, std::int64_t batch) {
  if (options.device == Device::cuda) require_device(to_string(options.device));
  if (options.device == Device::reference && options.precision != Precision::f32) {
    throw usage_error("the reference device computes in float64; it takes no --precision");
  }
  if (options.device == Device::reference && options.recompute.kind != RecomputePolicy::Kind::none) {
    throw usage_error("the reference device keeps every value; it takes no --recompute");
  }
  if (graph.symbols().size() > 1) {
    throw usage_error(fmt::format("network '{}' has several symbols ({}); one, the batch, can be "
                                  "compiled", graph.name(), fmt::join(graph.symbols(), ", ")));
  }
  const auto start = std::chrono::steady_clock::now();
  Graph given = graph.clone();
  if (!options.outputs.empty()) given.select_outputs(options.outputs);
  given.promote_taps(options.taps);
  Graph optimized = given.clone();
  std::unique_ptr<Backend> backend;
  if (options.device == Device::cpu) backend = make_cpu_backend();
  PassContext context;
  context.target = backend.get();
  context.evaluate = evaluate_node;
  PipelineOptions pipeline;
  pipeline.disabled = options.disabled_passes;
  pipeline.after_pass = options.after_pass;
  ProgramInfo info;
  info.passes = run_pipeline(optimized, pipeline_for(options), context, pipeline);
  info.remarks = std::move(context.remarks);
  info.compile_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.device == Device::reference) {
    return make_reference_executable(std::move(optimized), weights, options, std::move(info));
  }
  return make_compiled_executable(std::move(given), std::move(optimized), weights, options,
                                  std::move(info), std::move(backend), batch);
}

}  // namespace facet
