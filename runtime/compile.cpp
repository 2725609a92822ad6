#include "runtime/compile.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference.h"
#include "ir/error.h"
#include "ir/op.h"
#include "passes/loss_scale.h"
#include "runtime/compile_internal.h"
#include "runtime/device_modules.h"
#include "runtime/threads.h"

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
  if (options.precision == Precision::bf16 || options.precision == Precision::f16) {
    passes.push_back(
        find_pass(options.precision == Precision::bf16 ? "lower-to-bf16" : "lower-to-f16"));
    if (options.optimize) passes.push_back(find_pass("eliminate-common-subexpressions"));
  }
  return passes;
}

ExecutableBackends backends_for(const CompileOptions& options) {
  if (options.device == Device::reference) return {};
  if (options.device == Device::cpu) return {make_cpu_backend(), nullptr};
  require_device(to_string(options.device));
  const DeviceOptions device{options.memory_limit, options.precision == Precision::tf32,
                             thread_count(), options.tune};
  return {device_module(to_string(options.device)).make_backend(device), make_cpu_backend()};
}

void check_options(const Graph& graph, const CompileOptions& options) {
  const bool is_reference = options.device == Device::reference;
  if (is_reference && options.precision != Precision::f32) {
    throw usage_error("the reference device computes in float64; it takes no --precision");
  }
  if (is_reference && options.recompute.kind != RecomputePolicy::Kind::none) {
    throw usage_error("the reference device keeps every value; it takes no --recompute");
  }
  const bool of_gpu = options.precision == Precision::tf32 || options.precision == Precision::f16;
  if (options.device != Device::cuda && of_gpu) {
    throw usage_error(fmt::format("{} is a precision of GPUs; take --device cuda, or f32 or bf16",
                                  to_string(options.precision)));
  }
  const bool trains = !graph.updates().empty();
  if (options.precision == Precision::f16 && trains &&
      graph.find_parameter(kLossScaleKey) == nullptr) {
    throw usage_error("training in f16 needs its loss scaled, which this step does not; take bf16");
  }
  if (options.device != Device::cuda && options.memory_limit != 0) {
    throw usage_error("--device-memory limits the memory of a GPU; take --device cuda");
  }
  if (options.device != Device::cuda && options.tune) {
    throw usage_error("--tune chooses a GPU's engines; take --device cuda");
  }
  if (graph.symbols().size() > 1) {
    throw usage_error(fmt::format("network '{}' has several symbols ({}); one, the batch, can be "
                                  "compiled", graph.name(), fmt::join(graph.symbols(), ", ")));
  }
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
  if (name == "f16") return Precision::f16;
  if (name == "tf32") return Precision::tf32;
  throw usage_error(fmt::format("unknown precision '{}'; there are f32, bf16, f16 and tf32", name));
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
  switch (precision) {
    case Precision::f32:
      return "f32";
    case Precision::f16:
      return "f16";
    case Precision::tf32:
      return "tf32";
    default:
      return "bf16";
  }
}

std::shared_ptr<const Executable> compile(const Graph& graph, const TensorMap& weights,
                                          const CompileOptions& options, std::int64_t batch) {
  return compile_for(backends_for(options), graph, weights, options, batch);
}

std::shared_ptr<const Executable> compile_for(ExecutableBackends backends, const Graph& graph,
                                              const TensorMap& weights,
                                              const CompileOptions& options, std::int64_t batch) {
  check_options(graph, options);
  const auto start = std::chrono::steady_clock::now();
  Graph given = graph.clone();
  if (!options.outputs.empty()) given.select_outputs(options.outputs);
  given.promote_taps(options.taps);
  Graph optimized = given.clone();
  PassContext context;
  context.target = backends.device.get();
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
                                  std::move(info), std::move(backends), batch);
}

}  // namespace facet
