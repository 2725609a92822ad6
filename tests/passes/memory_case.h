#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "ir/error.h"
#include "ir/layout.h"
#include "ir/op.h"
#include "passes/memory_plan.h"

/// What the tests of the memory plan build their graphs and targets with.
namespace facet::testing {

/// A target that is asked about slices only; at first it reads and writes all of them.
class SliceTarget : public Target {
 public:
  std::function<bool(const Node&, int)> writes = [](const Node&, int) { return true; };
  std::function<bool(const Node&, int)> reads = [](const Node&, int) { return true; };

  std::string_view name() const override { return "slices"; }
  bool supports(const Node&) const override { return true; }
  bool accepts_epilogue(const Node&, std::string_view, const Type*) const override { return false; }
  LayoutChoice choose_layouts(const Node&) const override { return {}; }
  bool writes_slices(const Node& node, int index) const override { return writes(node, index); }
  bool reads_slices(const Node& node, int index) const override { return reads(node, index); }
};

/// A graph under construction: each op is a step, named for messages by its order.
class MemoryCase {
 public:
  Graph graph{"memory"};
  std::vector<Node*> steps;
  SliceTarget target;

  Value input(const std::string& name, Shape shape, Layout layout = {}, DType dtype = DType::f32) {
    const Type type{dtype, std::move(shape), {}};
    Node* node = graph.create("input", {}, {{"name", name}, {"type", to_string(type)}});
    return with_layout(node, layout);
  }
  /// A value that is not planned.
  Value parameter(const std::string& key, Shape shape) {
    const Type type{DType::f32, std::move(shape), {}};
    graph.parameters().push_back({key, type, ParameterRole::weight, {}, true, {}});
    return graph.create("parameter", {}, {{"key", key}, {"type", to_string(type)}})->result();
  }
  /// A step. Its result takes the layout of the first operand of the same rank, or row-major order.
  Value op(std::string_view name, std::vector<Value> operands, Attributes attributes = {}) {
    Provenance from;
    from.scope = "s" + std::to_string(steps.size());
    Layout layout;
    const Value first = operands.front();
    Node* node = graph.create(name, std::move(operands), std::move(attributes), from);
    steps.push_back(node);
    if (first.type().rank() == node->result_types()[0].rank()) layout = first.type().layout;
    if (node->is("reorder")) layout = node->attributes().text("layout");
    return with_layout(node, layout);
  }
  Value relu(Value x) { return op("relu", {x}); }
  Value add(Value a, Value b) { return op("add", {a, b}); }
  Value conv(Value x, std::int64_t out) {
    const std::int64_t in = x.shape()[1].factor;
    const Value weight = parameter("w" + std::to_string(graph.size()), {out, in, 1, 1});
    return op("conv", {x, weight});
  }
  Value concat(std::vector<Value> operands, std::int64_t axis = 1) {
    return op("concat", std::move(operands), {{"axis", axis}});
  }
  Value slice(Value x, std::int64_t axis, std::int64_t start, std::int64_t end) {
    return op("slice", {x}, {{"axis", axis}, {"start", start}, {"end", end}});
  }
  Value reshape(Value x, Ints shape) { return op("reshape", {x}, {{"shape", std::move(shape)}}); }
  Value reshape(Value x, Ints shape, const Layout& layout) {
    return with_layout(reshape(x, std::move(shape)).node, layout);
  }
  Value mean(Value x) { return op("reduce_mean", {x}, {{"axes", Ints{2, 3}}}); }
  void output(Value value) {
    graph.outputs().push_back({"y" + std::to_string(graph.outputs().size()), value});
  }

  /// Storage, offsets and check in one.
  Storage plan(const StorageOptions& options = {}) {
    Storage storage = assign_storage(graph, steps, target, options);
    arena = place_buffers(storage.buffers);
    check_memory_plan(graph, steps, storage, arena.bytes);
    return storage;
  }
  ArenaPlan arena;

 private:
  static Value with_layout(Node* node, const Layout& layout) {
    Type type = node->result_types()[0];
    type.layout = layout;
    node->set_result_type(0, type);
    return node->result();
  }
};

inline const Placement& place_of(const Storage& storage, Value value) {
  return storage.placements.at(value);
}
inline const Buffer& buffer_of(const Storage& storage, Value value) {
  return storage.buffers.at(static_cast<std::size_t>(place_of(storage, value).buffer));
}
inline bool share(const Storage& storage, Value a, Value b) {
  return place_of(storage, a).buffer == place_of(storage, b).buffer;
}
inline bool is_free(const Storage& storage, Value value) {
  return storage.free_steps.contains(value.node);
}

}  // namespace facet::testing
