#include "runtime/program.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "ir/error.h"
#include "ir/op.h"
#include "ir/text.h"
#include "passes/prepared.h"
#include "runtime/step_groups.h"
#include "runtime/threads.h"

namespace facet {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Of the node's kernel, if all it reads and makes is dense.
std::int64_t scratch_bytes(const Backend& backend, const Node& node) {
  std::vector<View> operands;
  for (const Value& value : node.operands()) operands.push_back(dense_view(value.type()));
  std::vector<View> results;
  for (const Type& type : node.result_types()) results.push_back(dense_view(type));
  return static_cast<std::int64_t>(backend.lower(node, operands, results)->scratch_bytes());
}

double view_bytes(const Type& type) { return static_cast<double>(byte_size(type)); }

/// Operands and results, each once; of a table only the rows that the node reads or writes.
double moved_bytes(const Node& node) {
  const bool is_update = node.op().aliasing == Aliasing::update;
  const bool reads_rows = node.is("gather_rows") || node.is("owed_rows");
  // As many as the rows have: the gradient stands behind the state.
  const double of_rows = is_update    ? view_bytes(node.operand(node.result_count()).type())
                         : reads_rows ? view_bytes(node.result_types()[0])
                                      : 0;
  double bytes = 0;
  const auto add = [&](const Type& type, bool is_table) {
    const double whole = view_bytes(type);
    bytes += is_table ? std::min(whole, of_rows) : whole;
  };
  std::set<Value> seen;
  for (int i = 0; i < node.operand_count(); ++i) {
    if (!seen.insert(node.operand(i)).second) continue;
    const bool is_state = is_update && i < node.result_count();
    const bool is_source = i == 0 || (i == 1 && node.is("owed_rows"));
    add(node.operand(i).type(), is_state || (reads_rows && is_source));
  }
  for (const Type& type : node.result_types()) add(type, is_update);
  return bytes;
}

}  // namespace

Program::Program(const Graph& graph, std::int64_t batch, const Backends& backends,
                 WeightStore& weights, const CompileOptions& options,
                 const ProgramInfo& optimization, std::int64_t recompute_reserve)
    : info_(optimization) {
  const auto start = std::chrono::steady_clock::now();
  info_.batch = batch;
  const std::vector<std::string> symbols = graph.symbols();
  graph_ = symbols.empty() ? graph.clone() : graph.with_symbol(symbols.front(), batch);
  PassContext context;
  context.target = &backends.device;
  context.recompute = options.recompute;
  context.recompute_reserve = recompute_reserve;
  context.scratch_bytes = [&](const Node& node) { return scratch_bytes(backends.device, node); };
  PipelineOptions pipeline;
  pipeline.disabled = options.disabled_passes;
  pipeline.after_pass = options.after_pass;
  for (PassReport& report : run_pipeline(graph_, layout_pipeline(), context, pipeline)) {
    info_.passes.push_back(std::move(report));
  }
  info_.remarks.insert(info_.remarks.end(), context.remarks.begin(), context.remarks.end());
  info_.recomputed = context.recomputed;
  split_nodes(backends.device);
  for (const Output& update : graph_.updates()) state_keys_.push_back(update.name);
  check_updates();
  lower_steps(backends.device, options);
  info_.compile_seconds += seconds_since(start);
  const auto prepare_start = std::chrono::steady_clock::now();
  prepare(backends.host, weights);
  find_updates();
  info_.prepare_seconds = seconds_since(prepare_start);
  describe_steps();
  info_.graph_text = to_text(graph_, {.parameters = false});
}

void Program::split_nodes(const Backend& backend) {
  const PreparedSet prepared(graph_);
  std::vector<Node*> steps;
  for (Node* node : graph_.node_list()) {
    if (node->is("input") || is_state(*node)) continue;
    (prepared.contains(node) ? prepared_nodes_ : steps).push_back(node);
  }
  for (const std::vector<Node*>& group : group_steps(steps, backend)) {
    step_nodes_.insert(step_nodes_.end(), group.begin(), group.end());
    group_sizes_.push_back(group.size());
  }
}

View Program::view_of(Value value) const {
  const auto it = storage_.placements.find(value);
  return it != storage_.placements.end() ? View{value.type(), it->second.strides}
                                         : dense_view(value.type());
}

/// An update op writes over the old state: whoever reads that must have run before.
void Program::check_updates() const {
  std::map<const Node*, std::size_t> position;
  for (std::size_t i = 0; i < step_nodes_.size(); ++i) position[step_nodes_[i]] = i;
  for (const Node* node : step_nodes_) {
    if (node->op().aliasing != Aliasing::update) continue;
    for (int r = 0; r < node->result_count(); ++r) {
      const Value old = node->operand(r);
      if (state_behind(old) == nullptr) continue;
      for (const Use& use : old.node->uses(old.index)) {
        if (use.node == node || position.at(use.node) < position.at(node)) continue;
        throw failure(fmt::format("'{}' ({}) overwrites state that '{}' ({}) reads later", node->kind(),
                                  node->provenance().scope, use.node->kind(),
                                  use.node->provenance().scope));
      }
    }
  }
}

void Program::find_updates() {
  for (std::size_t i = 0; i < graph_.updates().size(); ++i) {
    const auto& [key, value] = graph_.updates()[i];
    info_.state_bytes += byte_size(value.type());
    const Node* behind = state_behind(value);
    if (behind != nullptr && behind->attributes().text("key") == key) continue;  // in place
    if (behind != nullptr) {
      throw failure(fmt::format("state '{}' cannot become the bytes of state '{}'; copy it by an op",
                                key, behind->attributes().text("key")));
    }
    commits_.push_back({static_cast<int>(i), address_of(value), byte_size(value.type())});
  }
}

Address Program::address_of(Value value) const {
  if (const Node* behind = state_behind(value)) {
    const std::string& key = behind->attributes().text("key");
    const auto at = std::find(state_keys_.begin(), state_keys_.end(), key);
    return {nullptr, 0, static_cast<int>(at - state_keys_.begin())};
  }
  const auto it = storage_.placements.find(value);
  if (it == storage_.placements.end()) return {prepared_.at(value).bytes.get(), 0};
  const Buffer& buffer = storage_.buffers[static_cast<std::size_t>(it->second.buffer)];
  return {nullptr, buffer.offset + it->second.offset};
}

void Program::lower_step(const Backend& backend, std::size_t index) {
  ProgramStep& step = steps_[index];
  if (step.nodes > 1) {
    step.kernel = backend.lower_together(std::span(step_nodes_).subspan(index, step.nodes));
    return;
  }
  Node* const node = step_nodes_[index];
  if (storage_.free_steps.contains(node)) return;
  std::vector<View> operands;
  for (const Value& value : node->operands()) operands.push_back(view_of(value));
  std::vector<View> results;
  for (int r = 0; r < node->result_count(); ++r) results.push_back(view_of(node->result(r)));
  step.kernel = backend.lower(*node, operands, results);
}

void Program::lower_steps(const Backend& backend, const CompileOptions& options) {
  StorageOptions storage_options;
  storage_options.in_place = storage_options.concat_slices = options.optimize;
  storage_ = assign_storage(graph_, step_nodes_, backend, storage_options);
  steps_.resize(step_nodes_.size());
  std::vector<std::size_t> groups;
  for (const std::size_t size : group_sizes_) {
    groups.push_back(groups.empty() ? 0 : groups.back() + steps_[groups.back()].nodes);
    steps_[groups.back()].nodes = size;
  }
  for_each_in_threads(groups.size(), backend.lowering_threads(),
                      [&](std::size_t group) { lower_step(backend, groups[group]); });
  std::vector<int> scratch_buffers;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const Kernel* const kernel = steps_[i].kernel.get();
    const auto scratch = kernel != nullptr ? static_cast<std::int64_t>(kernel->scratch_bytes()) : 0;
    scratch_buffers.push_back(scratch > 0 ? static_cast<int>(storage_.buffers.size()) : -1);
    if (scratch == 0) continue;
    const int at = static_cast<int>(i);
    storage_.buffers.push_back(
        {scratch, at, at, step_nodes_[i]->provenance().scope + " (scratch)", -1});
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

void Program::prepare(const Backend& host, WeightStore& weights) {
  std::vector<Value> roots;
  std::set<Value> seen;
  const auto want = [&](Value value) {
    const bool prepared = !storage_.placements.contains(value) && state_behind(value) == nullptr;
    if (prepared && seen.insert(value).second) roots.push_back(value);
  };
  for (const Node* node : step_nodes_) {
    for (const Value& value : node->operands()) want(value);
  }
  for (const Output& output : graph_.outputs()) want(output.value);
  for (const Output& update : graph_.updates()) want(update.value);
  const std::vector<PreparedValue> values = weights.prepare(prepared_nodes_, roots, host);
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
    step.is_compute = node.op().cost.is_compute();
    for (const Node* one : nodes_of(i)) {
      step.flops += one->op().cost.flops(*one);
      step.bytes += moved_bytes(*one);
      if (one == &node) continue;
      step.origins.push_back(one->provenance().scope);
    }
    info_.reorders += node.is("reorder") ? 1 : 0;
    info_.steps.push_back(std::move(step));
  }
}

std::byte* Program::pointer(const Address& address, std::byte* arena, const State& state) const {
  if (address.weight != nullptr) return const_cast<std::byte*>(address.weight);
  if (address.state >= 0) return state.bytes(state_keys_[static_cast<std::size_t>(address.state)]);
  return arena + address.offset;
}

namespace {

template <class T, class ToFloat>
std::int64_t count_non_finite(const T* values, const View& view, ToFloat to_float) {
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  std::int64_t bad = 0;
  if (view.strides.empty()) {  // a blocked layout is dense; its padding is zero
    const std::int64_t count = byte_size(view.type) / static_cast<std::int64_t>(sizeof(T));
    for (std::int64_t i = 0; i < count; ++i) bad += std::isfinite(to_float(values[i])) ? 0 : 1;
    return bad;
  }
  std::vector<std::int64_t> at(extents.size(), 0);
  const std::int64_t count = element_count(view.type.shape).factor;
  std::int64_t offset = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    bad += std::isfinite(to_float(values[offset])) ? 0 : 1;
    for (std::size_t axis = extents.size(); axis-- > 0;) {
      offset += view.strides[axis];
      if (++at[axis] < extents[axis]) break;
      offset -= at[axis] * view.strides[axis];
      at[axis] = 0;
    }
  }
  return bad;
}

/// From the first element to the end of the last.
std::int64_t spanned_bytes(const View& view) {
  if (view.strides.empty()) return byte_size(view.type);
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  std::int64_t last = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) last += (extents[i] - 1) * view.strides[i];
  return element_count(view.type.shape).factor == 0 ? 0 : (last + 1) * size_of(view.type.dtype);
}

std::int64_t count_non_finite(const std::byte* bytes, const View& view) {
  if (view.type.dtype == DType::f32) {
    return count_non_finite(reinterpret_cast<const float*>(bytes), view, [](float x) { return x; });
  }
  const auto* const halves = reinterpret_cast<const std::uint16_t*>(bytes);
  if (view.type.dtype == DType::bf16) return count_non_finite(halves, view, float_from_bf16);
  if (view.type.dtype == DType::f16) return count_non_finite(halves, view, float_from_f16);
  return 0;
}

}  // namespace

std::string Program::describe_non_finite(std::size_t step, DeviceQueue& queue, std::byte* arena,
                                         const State& state) const {
  std::size_t running = 0;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].kernel == nullptr || running++ != step) continue;
    for (Node* node : nodes_of(i)) {
      for (int r = 0; r < node->result_count(); ++r) {
        const View view = view_of(node->result(r));
        const std::shared_ptr<const std::byte> at(
            std::shared_ptr<void>(), pointer(address_of(node->result(r)), arena, state));
        const auto values = queue.fetch(at, spanned_bytes(view));
        const std::int64_t bad = count_non_finite(values.get(), view);
        if (bad == 0) continue;
        return fmt::format("{} {}: {} of {} values of {} are not finite", node->kind(),
                           node->provenance().scope, bad, element_count(view.type.shape).factor,
                           to_string(view.type));
      }
    }
  }
  return {};
}

std::vector<QueuedStep> Program::bind(DeviceQueue& queue, std::byte* arena,
                                      const State& state) const {
  std::vector<QueuedStep> bound;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const ProgramStep& step = steps_[i];
    if (step.kernel == nullptr) continue;
    std::vector<std::byte*> operands;
    std::vector<std::byte*> results;
    for (std::size_t k = i; k < i + step.nodes; ++k) {
      for (const Address& address : steps_[k].operands) {
        operands.push_back(pointer(address, arena, state));
      }
      for (const Address& address : steps_[k].results) {
        results.push_back(pointer(address, arena, state));
      }
    }
    bound.push_back(
        {label(i), step.kernel->bind(queue, operands, results, arena + step.scratch_offset)});
  }
  return bound;
}

std::vector<QueuedStep> Program::bind_commit(DeviceQueue& queue, std::byte* arena,
                                             const State& state) const {
  std::vector<QueuedStep> bound;
  for (const Commit& commit : commits_) {
    const std::string& key = state_keys_[static_cast<std::size_t>(commit.state)];
    std::byte* const to = state.bytes(key);
    const std::byte* const from = pointer(commit.from, arena, state);
    bound.push_back({"new " + key, [&queue, to, from, bytes = commit.bytes] {
                       queue.copy(to, from, bytes);
                     }});
  }
  return bound;
}

/// "conv layer1.0.conv1", "sgd_update conv1.weight and 61 more".
std::string Program::label(std::size_t step) const {
  const Node& node = *step_nodes_[step];
  const std::size_t others = steps_[step].nodes - 1;
  return fmt::format("{} {}{}", node.kind(), node.provenance().scope,
                     others == 0 ? "" : fmt::format(" and {} more", others));
}

std::span<Node* const> Program::nodes_of(std::size_t step) const {
  return std::span(step_nodes_).subspan(step, steps_[step].nodes);
}

std::string Program::describe_peak() const {
  std::vector<std::int64_t> live(step_nodes_.size(), 0);
  for (const Buffer& buffer : storage_.buffers) {
    for (int i = buffer.first; i <= buffer.last; ++i) live[static_cast<std::size_t>(i)] += buffer.bytes;
  }
  const auto fullest = std::max_element(live.begin(), live.end());
  if (fullest == live.end()) return "no steps";
  const auto at = static_cast<int>(fullest - live.begin());
  std::vector<const Buffer*> buffers;
  for (const Buffer& buffer : storage_.buffers) {
    if (buffer.first <= at && at <= buffer.last) buffers.push_back(&buffer);
  }
  std::stable_sort(buffers.begin(), buffers.end(),
                   [](const Buffer* a, const Buffer* b) { return a->bytes > b->bytes; });
  constexpr std::size_t kNamed = 5;
  std::vector<std::string> named;
  for (std::size_t i = 0; i < std::min(kNamed, buffers.size()); ++i) {
    named.push_back(fmt::format("{} {:.1f} MB", buffers[i]->name,
                                static_cast<double>(buffers[i]->bytes) * 1e-6));
  }
  return fmt::format(
      "the arena is fullest at step {} of {} ({}), where {} take most of its {:.1f} MB", at + 1,
      live.size(), label(static_cast<std::size_t>(at)), fmt::join(named, ", "),
      static_cast<double>(info_.arena_bytes) * 1e-6);
}

}  // namespace facet
