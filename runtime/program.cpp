#include "runtime/program.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "ir/error.h"
#include "ir/op.h"
#include "ir/text.h"
#include "passes/prepared.h"

namespace facet {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double view_bytes(const Type& type) { return static_cast<double>(byte_size(type)); }

}  // namespace

Program::Program(const Graph& graph, std::int64_t batch, const Backend& backend,
                 WeightStore& weights, const CompileOptions& options,
                 const ProgramInfo& optimization)
    : info_(optimization) {
  const auto start = std::chrono::steady_clock::now();
  info_.batch = batch;
  const std::vector<std::string> symbols = graph.symbols();
  graph_ = symbols.empty() ? graph.clone() : graph.with_symbol(symbols.front(), batch);
  PassContext context;
  context.target = &backend;
  PipelineOptions pipeline;
  pipeline.disabled = options.disabled_passes;
  pipeline.after_pass = options.after_pass;
  for (PassReport& report : run_pipeline(graph_, layout_pipeline(), context, pipeline)) {
    info_.passes.push_back(std::move(report));
  }
  info_.remarks.insert(info_.remarks.end(), context.remarks.begin(), context.remarks.end());
  split_nodes();
  lower_steps(backend, options);
  info_.compile_seconds += seconds_since(start);
  const auto prepare_start = std::chrono::steady_clock::now();
  prepare(backend, weights);
  info_.prepare_seconds = seconds_since(prepare_start);
  describe_steps();
  info_.graph_text = to_text(graph_, {.parameters = false});
}

void Program::split_nodes() {
  const PreparedSet prepared(graph_);
  for (Node* node : graph_.node_list()) {
    if (node->is("input")) continue;
    (prepared.contains(node) ? prepared_nodes_ : step_nodes_).push_back(node);
  }
}

View Program::view_of(Value value) const {
  const auto it = storage_.placements.find(value);
  return it != storage_.placements.end() ? View{value.type(), it->second.strides}
                                         : dense_view(value.type());
}

Address Program::address_of(Value value) const {
  const auto it = storage_.placements.find(value);
  if (it == storage_.placements.end()) return {prepared_.at(value).bytes.get(), 0};
  const Buffer& buffer = storage_.buffers[static_cast<std::size_t>(it->second.buffer)];
  return {nullptr, buffer.offset + it->second.offset};
}

void Program::lower_steps(const Backend& backend, const CompileOptions& options) {
  StorageOptions storage_options;
  storage_options.in_place = storage_options.concat_slices = options.optimize;
  storage_ = assign_storage(graph_, step_nodes_, backend, storage_options);
  std::vector<int> scratch_buffers;
  for (std::size_t i = 0; i < step_nodes_.size(); ++i) {
    const Node& node = *step_nodes_[i];
    ProgramStep step;
    std::int64_t scratch = 0;
    if (!storage_.free_steps.contains(&node)) {
      std::vector<View> operands;
      for (const Value& value : node.operands()) operands.push_back(view_of(value));
      std::vector<View> results;
      for (int r = 0; r < node.result_count(); ++r) {
        results.push_back(view_of({const_cast<Node*>(&node), r}));
      }
      step.kernel = backend.lower(node, operands, results);
      scratch = static_cast<std::int64_t>(step.kernel->scratch_bytes());
    }
    scratch_buffers.push_back(scratch > 0 ? static_cast<int>(storage_.buffers.size()) : -1);
    if (scratch > 0) {
      const int at = static_cast<int>(i);
      storage_.buffers.push_back({scratch, at, at, node.provenance().scope + " (scratch)", -1});
    }
    steps_.push_back(std::move(step));
  }
  const ArenaPlan plan = place_buffers(storage_.buffers);
  check_memory_plan(graph_, step_nodes_, storage_, plan.bytes);
  info_.arena_bytes = plan.bytes;
  info_.lower_bound_bytes = plan.lower_bound;
  info_.concat_slices = storage_.concat_slices;
  info_.concat_copies = storage_.concat_copies;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    if (scratch_buffers[i] >= 0) {
      steps_[i].scratch_offset = storage_.buffers[static_cast<std::size_t>(scratch_buffers[i])].offset;
    }
  }
}

void Program::prepare(const Backend& backend, WeightStore& weights) {
  std::vector<Value> roots;
  std::set<Value> seen;
  const auto want = [&](Value value) {
    if (!storage_.placements.contains(value) && seen.insert(value).second) roots.push_back(value);
  };
  for (const Node* node : step_nodes_) {
    for (const Value& value : node->operands()) want(value);
  }
  for (const Output& output : graph_.outputs()) want(output.value);
  const std::vector<PreparedValue> values = weights.prepare(prepared_nodes_, roots, backend);
  for (std::size_t i = 0; i < roots.size(); ++i) {
    prepared_[roots[i]] = values[i];
    info_.prepared_bytes += values[i].size;
  }
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    Node* node = step_nodes_[i];
    for (const Value& value : node->operands()) steps_[i].operands.push_back(address_of(value));
    for (int r = 0; r < node->result_count(); ++r) {
      steps_[i].results.push_back(address_of(node->result(r)));
    }
  }
  for (Node* input : graph_.inputs()) {
    inputs_.push_back({input->attributes().text("name"), input->result_types()[0],
                       address_of(input->result())});
  }
  for (const Output& output : graph_.outputs()) {
    outputs_.push_back({output.name, output.value.type(), address_of(output.value)});
  }
}

void Program::describe_steps() {
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const Node& node = *step_nodes_[i];
    if (steps_[i].kernel == nullptr) continue;
    StepInfo step;
    step.kind = std::string(node.kind());
    step.scope = node.provenance().scope;
    step.origins = node.provenance().origins;
    step.implementation = steps_[i].kernel->implementation();
    step.result_type = to_string(node.result_types()[0]);
    step.flops = node.op().cost.flops(node);
    step.is_compute = node.op().cost.is_compute();
    std::set<Value> operands(node.operands().begin(), node.operands().end());
    for (const Value& value : operands) step.bytes += view_bytes(value.type());
    for (const Type& type : node.result_types()) step.bytes += view_bytes(type);
    info_.reorders += node.is("reorder") ? 1 : 0;
    info_.steps.push_back(std::move(step));
  }
}

std::vector<Program::BoundStep> Program::bind(std::byte* arena) const {
  std::vector<BoundStep> bound;
  const auto pointer = [&](const Address& address) {
    return address.weight != nullptr ? const_cast<std::byte*>(address.weight)
                                     : arena + address.offset;
  };
  for (const ProgramStep& step : steps_) {
    if (step.kernel == nullptr) continue;
    std::vector<std::byte*> operands;
    std::vector<std::byte*> results;
    for (const Address& address : step.operands) operands.push_back(pointer(address));
    for (const Address& address : step.results) results.push_back(pointer(address));
    bound.push_back({bound.size(), step.kernel->bind(operands, results, arena + step.scratch_offset)});
  }
  return bound;
}

}  // namespace facet
