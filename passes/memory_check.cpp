#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string>

#include "ir/error.h"
#include "ir/layout.h"
#include "ir/op.h"
#include "passes/byte_region.h"
#include "passes/memory_plan.h"
#include "passes/prepared.h"

// Runs the steps in order and keeps account of the values in the arena: a value is intact from the
// step that makes it until a write touches any of its bytes, and only intact values may be read.
// Shares no code with the planner but sizes and strides of dense types.

namespace facet {
namespace {

std::string describe(const Value& value) {
  std::string text(value.node->kind());
  if (value.node->is("input")) text += " '" + value.node->attributes().text("name") + "'";
  if (!value.node->provenance().scope.empty()) text += " '" + value.node->provenance().scope + "'";
  if (value.index > 0) text += fmt::format(" result {}", value.index);
  return text + " " + to_string(value.type());
}

std::string describe(const ByteRange& range) {
  return fmt::format("bytes [{}, {})", range.first, range.second);
}

/// What writes bytes: a step's result or its scratch.
struct Writer {
  int step = 0;              ///< -1 for a graph input
  std::string_view scratch;  ///< the buffer's name, for scratch
  Value value;               ///< else the value
};

std::string describe(const Writer& writer) {
  if (!writer.value) return fmt::format("scratch '{}' of step {}", writer.scratch, writer.step);
  if (writer.step < 0) return describe(writer.value);
  return fmt::format("{} of step {}", describe(writer.value), writer.step);
}

class Simulation {
 public:
  Simulation(const Graph& graph, std::span<Node* const> steps, const Storage& storage,
             std::int64_t arena_bytes)
      : graph_(graph), steps_(steps), storage_(storage), arena_bytes_(arena_bytes) {}

  void run();

 private:
  /// A value that was made, and what has happened to it.
  struct Known {
    ByteRegion region;
    bool intact = true;
    Writer spoiler;
    ByteRange spoilt;
  };

  const Placement& placement(const Value& value) const;
  const Buffer& buffer(const Value& value) const;
  std::int64_t address(const Value& value) const;
  const Known* known(const Value& value) const;

  void check_buffers();
  void check_alone(const Value& value) const;
  void check_strides(const Value& value, const std::vector<std::int64_t>& extents) const;
  void check_access(const Value& value, int step) const;
  void check_intact(const Value& value, int step, std::string_view reader) const;
  void check_disjoint(const Value& value, const ByteRegion& region, int step,
                      const std::string& writer) const;

  void make(const Value& value, int step);
  void write(const ByteRegion& region, const Writer& writer);
  void run_step(Node& node, int step);
  void run_scratch(const Node& node, int step);
  void run_concat(Node& node, int step);
  void run_writer(Node& node, int step);
  bool is_view(Node& node) const;
  bool is_slice_at(const Value& part, const Value& whole, std::size_t axis,
                   std::int64_t start) const;
  bool may_overwrite(const Node& node, int result, const Value& operand) const;

  const Graph& graph_;
  std::span<Node* const> steps_;
  const Storage& storage_;
  std::int64_t arena_bytes_;
  std::map<Value, Known> known_;
  std::vector<const Buffer*> scratch_;
  std::vector<int> values_in_buffer_;
  std::vector<Known*> intact_;
};

const Placement& Simulation::placement(const Value& value) const {
  const auto found = storage_.placements.find(value);
  if (found == storage_.placements.end()) {
    throw failure("memory plan: no place for " + describe(value));
  }
  return found->second;
}

const Buffer& Simulation::buffer(const Value& value) const {
  return storage_.buffers[static_cast<std::size_t>(placement(value).buffer)];
}

std::int64_t Simulation::address(const Value& value) const {
  return buffer(value).offset + placement(value).offset;
}

const Simulation::Known* Simulation::known(const Value& value) const {
  const auto found = known_.find(value);
  return found == known_.end() ? nullptr : &found->second;
}

void Simulation::check_buffers() {
  const auto count = static_cast<int>(storage_.buffers.size());
  values_in_buffer_.assign(storage_.buffers.size(), 0);
  for (const auto& [value, place] : storage_.placements) {
    if (place.buffer < 0 || place.buffer >= count) {
      throw failure(fmt::format("memory plan: {} lies in buffer {} of {}", describe(value),
                                place.buffer, count));
    }
    ++values_in_buffer_[static_cast<std::size_t>(place.buffer)];
  }
  for (std::size_t i = 0; i < storage_.buffers.size(); ++i) {
    const Buffer& at = storage_.buffers[i];
    if (at.offset < 0 || at.offset % 64 != 0 || at.bytes > arena_bytes_ - at.offset) {
      throw failure(fmt::format(
          "memory plan: buffer {} '{}', {}, does not lie at a multiple of 64 "
          "in the arena of {} bytes",
          i, at.name, describe(ByteRange(at.offset, at.offset + at.bytes)), arena_bytes_));
    }
    if (values_in_buffer_[i] == 0 && at.bytes > 0) scratch_.push_back(&at);
  }
  for (const Buffer* a : scratch_) {
    for (const Buffer* b : scratch_) {
      if (a >= b || a->last < b->first || b->last < a->first) continue;
      const auto shared = common_bytes({a->offset, a->bytes}, {b->offset, b->bytes});
      if (!shared) continue;
      throw failure(fmt::format("memory plan: scratch '{}' and scratch '{}' of step {} share {}",
                                a->name, b->name, std::max(a->first, b->first), describe(*shared)));
    }
  }
}

/// Graph inputs and outputs share their buffer with no other value.
void Simulation::check_alone(const Value& value) const {
  const int index = placement(value).buffer;
  if (values_in_buffer_[static_cast<std::size_t>(index)] == 1) return;
  for (const auto& [other, place] : storage_.placements) {
    if (place.buffer != index || other == value) continue;
    throw failure(
        fmt::format("memory plan: {}, an input or output of the graph, shares buffer {} "
                    "with {}",
                    describe(value), index, describe(other)));
  }
}

/// Strides keep the order of the type's layout and leave each element bytes of its own.
void Simulation::check_strides(const Value& value, const std::vector<std::int64_t>& extents) const {
  // Where there is no element, no stride is ever taken.
  if (std::find(extents.begin(), extents.end(), 0) != extents.end()) return;
  const std::vector<std::int64_t>& strides = placement(value).strides;
  const std::vector<std::int64_t> dense = dense_strides(value.type());
  bool fits = strides.size() == dense.size();
  std::vector<std::size_t> axes;
  for (std::size_t axis = 0; fits && axis < strides.size(); ++axis) {
    if (extents[axis] > 1) axes.push_back(axis);
  }
  std::sort(axes.begin(), axes.end(),
            [&](std::size_t a, std::size_t b) { return dense[a] < dense[b]; });
  std::int64_t span = 1;
  for (const std::size_t axis : axes) {
    fits = fits && strides[axis] >= span;
    span = strides[axis] * extents[axis];
  }
  if (fits) return;
  throw failure(fmt::format("memory plan: {} has strides [{}], which do not fit its layout",
                            describe(value), fmt::join(strides, ", ")));
}

void Simulation::check_access(const Value& value, int step) const {
  const Buffer& at = buffer(value);
  if (at.first <= step && step <= at.last) return;
  throw failure(
      fmt::format("memory plan: step {} uses {} in buffer '{}', which lives from step {} "
                  "to step {}",
                  step, describe(value), at.name, at.first, at.last));
}

void Simulation::check_intact(const Value& value, int step, std::string_view reader) const {
  const Known* of = known(value);
  if (of == nullptr) {
    throw failure(fmt::format("memory plan: step {} ({}) reads {} before it is made", step, reader,
                              describe(value)));
  }
  check_access(value, step);
  if (of->intact) return;
  throw failure(fmt::format("memory plan: step {} ({}) reads {}, of which {} has overwritten {}",
                            step, reader, describe(value), describe(of->spoiler),
                            describe(of->spoilt)));
}

/// `region` is written while `value` is read.
void Simulation::check_disjoint(const Value& value, const ByteRegion& region, int step,
                                const std::string& writer) const {
  const Known* of = known(value);
  if (of == nullptr) return;
  if (const auto shared = common_bytes(of->region, region)) {
    throw failure(fmt::format("memory plan: in step {} {} and {} share {}", step, writer,
                              describe(value), describe(*shared)));
  }
}

/// The value exists from now on, in a place that is checked here.
void Simulation::make(const Value& value, int step) {
  const Placement& place = placement(value);
  const std::vector<std::int64_t> extents = static_extents(value.shape());
  check_strides(value, extents);
  Known made;
  const std::int64_t element = size_of(value.dtype());
  made.region = place.strides.empty() ? ByteRegion(address(value), byte_size(value.type()))
                                      : ByteRegion(address(value), element, extents, place.strides);
  if (place.offset < 0 || place.offset % element != 0 ||
      made.region.end() > buffer(value).offset + buffer(value).bytes) {
    throw failure(fmt::format("memory plan: {} at {} does not lie in its buffer '{}' of {} bytes",
                              describe(value), place.offset, buffer(value).name,
                              buffer(value).bytes));
  }
  check_access(value, std::max(step, 0));
  const auto [at, is_new] = known_.emplace(value, std::move(made));
  if (!is_new) {
    throw failure(fmt::format("memory plan: step {} makes {} again", step, describe(value)));
  }
  intact_.push_back(&at->second);
}

/// Spoils whatever has bytes there, but the value itself that is written.
void Simulation::write(const ByteRegion& region, const Writer& writer) {
  const Known* self = writer.value ? known(writer.value) : nullptr;
  std::erase_if(intact_, [&](Known* other) {
    if (other == self) return false;
    const auto shared = common_bytes(region, other->region);
    if (!shared) return false;
    other->intact = false;
    other->spoiler = writer;
    other->spoilt = *shared;
    return true;
  });
}

bool Simulation::is_slice_at(const Value& part, const Value& whole, std::size_t axis,
                             std::int64_t start) const {
  const Placement& inner = placement(part);
  const Placement& outer = placement(whole);
  if (inner.strides.empty() || outer.strides.empty()) return false;
  const std::int64_t skipped = start * outer.strides[axis] * size_of(whole.dtype());
  return address(part) == address(whole) + skipped &&
         same_strides(static_extents(part.shape()), inner.strides, outer.strides);
}

std::size_t axis_of(const Node& node) {
  const std::int64_t axis = node.attributes().integer("axis");
  return static_cast<std::size_t>(axis < 0 ? axis + node.result_types()[0].rank() : axis);
}

/// Whether each element of the result is the operand's by address already.
bool Simulation::is_view(Node& node) const {
  if (!node.is("reshape") && !node.is("slice") && !node.is("reorder")) return false;
  const Value from = node.operand(0);
  const Value to = node.result();
  if (known(from) == nullptr || from.dtype() != to.dtype()) return false;
  if (node.is("slice")) {
    return is_slice_at(to, from, axis_of(node), node.attributes().integer("start"));
  }
  if (address(from) != address(to)) return false;
  const Placement& source = placement(from);
  const Placement& view = placement(to);
  if (is_blocked(from.type().layout) || is_blocked(to.type().layout)) {
    return from.type() == to.type();
  }
  const auto strides = reshaped_strides(from.shape(), source.strides, to.shape());
  return strides && same_strides(static_extents(to.shape()), *strides, view.strides);
}

bool Simulation::may_overwrite(const Node& node, int result, const Value& operand) const {
  const Value made{const_cast<Node*>(&node), result};
  const auto is_this = [&](const Overwrite& pair) {
    return pair.result == result && node.operand(pair.operand) == operand;
  };
  return std::ranges::any_of(overwrites_of(node), is_this) && operand.type() == made.type() &&
         address(operand) == address(made) &&
         same_strides(static_extents(made.shape()), placement(operand).strides,
                      placement(made).strides);
}

/// Copies the operands that are not in their slices.
void Simulation::run_concat(Node& node, int step) {
  const Value result = node.result();
  const std::vector<std::int64_t>& strides = placement(result).strides;
  const std::size_t axis = axis_of(node);
  std::int64_t start = 0;
  bool copies = false;
  for (const Value& operand : node.operands()) {
    const std::int64_t begin = start;
    const std::vector<std::int64_t> extents = static_extents(operand.shape());
    start += extents[axis];
    if (known(operand) != nullptr && is_slice_at(operand, result, axis, begin)) continue;
    copies = true;
    const std::int64_t element = size_of(result.dtype());
    const ByteRegion target = strides.empty()
                                  ? known(result)->region
                                  : ByteRegion(address(result) + begin * strides[axis] * element,
                                               element, extents, strides);
    for (const Value& read : node.operands()) {
      check_disjoint(read, target, step, describe(result));
    }
    write(target, {step, {}, result});
  }
  if (copies == storage_.free_steps.contains(&node)) {
    throw failure(fmt::format("memory plan: step {}, {}, is {}counted as free", step,
                              describe(result), copies ? "" : "not "));
  }
}

/// Any other node reads its operands and writes its results.
void Simulation::run_writer(Node& node, int step) {
  for (int r = 0; r < node.result_count(); ++r) {
    const ByteRegion& region = known(node.result(r))->region;
    for (const Value& operand : node.operands()) {
      if (known(operand) == nullptr || may_overwrite(node, r, operand)) continue;
      check_disjoint(operand, region, step, describe(node.result(r)));
    }
    for (int other = 0; other < r; ++other) {
      check_disjoint(node.result(other), region, step, describe(node.result(r)));
    }
    write(region, {step, {}, node.result(r)});
  }
}

void Simulation::run_scratch(const Node& node, int step) {
  for (const Buffer* scratch : scratch_) {
    if (step < scratch->first || step > scratch->last) continue;
    const ByteRegion region(scratch->offset, scratch->bytes);
    const Writer writer{step, scratch->name, {}};
    for (const Value& operand : node.operands()) {
      check_disjoint(operand, region, step, describe(writer));
    }
    for (int r = 0; r < node.result_count(); ++r) {
      check_disjoint({const_cast<Node*>(&node), r}, region, step, describe(writer));
    }
    write(region, writer);
  }
}

void Simulation::run_step(Node& node, int step) {
  for (const Value& operand : node.operands()) {
    // Neither a step's result nor an input: a parameter, which lies elsewhere.
    if (!storage_.placements.contains(operand)) continue;
    check_intact(operand, step, node.kind());
  }
  if (state_behind(node.result()) != nullptr) return run_scratch(node, step);  // writes no arena
  for (int r = 0; r < node.result_count(); ++r) make(node.result(r), step);
  run_scratch(node, step);
  if (node.is("concat")) return run_concat(node, step);
  const bool view = is_view(node);
  if (view != storage_.free_steps.contains(&node)) {
    throw failure(fmt::format("memory plan: step {}, {}, is {}counted as free", step,
                              describe(node.result()), view ? "not " : ""));
  }
  if (!view) run_writer(node, step);
}

void Simulation::run() {
  check_buffers();
  std::set<const Node*> running(steps_.begin(), steps_.end());
  for (Node* node : graph_.inputs()) {
    const Value input = node->result();
    check_alone(input);
    make(input, -1);
    write(known(input)->region, {-1, {}, input});
    running.insert(node);
  }
  for (const Node* node : steps_) {
    for (const Value& operand : node->operands()) {
      if (running.contains(operand.node) && state_behind(operand) == nullptr) placement(operand);
    }
  }
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    if (!steps_[i]->is("input")) run_step(*steps_[i], static_cast<int>(i));
  }
  const int last = std::max(0, static_cast<int>(steps_.size()) - 1);
  std::vector<Output> kept = graph_.outputs();
  kept.insert(kept.end(), graph_.updates().begin(), graph_.updates().end());
  for (const Output& output : kept) {
    if (!running.contains(output.value.node) || state_behind(output.value) != nullptr) continue;
    check_alone(output.value);
    check_intact(output.value, last, "output " + output.name);
  }
}

}  // namespace

void check_memory_plan(const Graph& graph, std::span<Node* const> steps, const Storage& storage,
                       std::int64_t arena_bytes) {
  Simulation(graph, steps, storage, arena_bytes).run();
}

}  // namespace facet
