#include <fmt/format.h>

#include <algorithm>

#include "ir/op.h"
#include "runtime/formats/onnx/node_reader.h"
#include "runtime/formats/onnx/node_source.h"
#include "runtime/formats/onnx/value_table.h"

// Operators that read and write by index: Gather, Scatter and their kin, TopK, ReverseSequence.

namespace facet::onnx_import {
namespace {

/// A constant or initializer, without binding a graph input for it.
std::optional<HostTensor> constant_input(NodeReader& node, int i) {
  const Entry* entry = node.values().find(node.source().input(i));
  if (entry == nullptr || entry->tensor.empty()) return std::nullopt;
  return entry->tensor;
}

/// The first of consecutive indices that lie in [0, extent), as Python's x[a:b] and x[a] export;
/// negative ones count from the end.
std::optional<std::int64_t> consecutive(const HostTensor& indices, std::int64_t extent) {
  if (indices.rank() > 1 || indices.element_count() == 0) return std::nullopt;
  const auto place = [&](std::int64_t i) {
    const auto index = static_cast<std::int64_t>(indices.at(i));
    return index < 0 ? index + extent : index;
  };
  const std::int64_t first = place(0);
  for (std::int64_t i = 0; i < indices.element_count(); ++i) {
    if (place(i) != first + i || place(i) < 0 || place(i) >= extent) return std::nullopt;
  }
  return first;
}

void require_indices(const NodeReader& node, const HostTensor& indices, const Dim& extent) {
  if (!extent.is_static()) return;
  for (std::int64_t i = 0; i < indices.element_count(); ++i) {
    const double index = indices.at(i);
    if (index >= -static_cast<double>(extent.factor) &&
        index < static_cast<double>(extent.factor)) {
      continue;
    }
    node.unsupported(
        fmt::format("index {} lies outside an axis of extent {}", index, extent.factor));
  }
}

/// Constant indices are checked; those that follow each other are a slice, which costs nothing.
void import_gather(NodeReader& node) {
  const Value x = node.input(0);
  const std::int64_t axis = node.axis("axis", 0, x.type().rank());
  const Dim extent = x.shape()[static_cast<std::size_t>(axis)];
  if (const auto indices = constant_input(node, 1)) {
    require_indices(node, *indices, extent);
    const auto first = extent.is_static() ? consecutive(*indices, extent.factor) : std::nullopt;
    if (first) {
      Value y = node.make(
          "slice", {x},
          {{"axis", axis}, {"start", *first}, {"end", *first + indices->element_count()}});
      Shape shape = y.shape();
      if (indices->rank() == 0) shape.erase(shape.begin() + axis);
      return node.set(node.reshape(y, shape));
    }
  }
  node.set(node.make("gather", {x, node.input(1)}, {{"axis", axis}}));
}

void import_gather_elements(NodeReader& node) {
  const Value x = node.input(0);
  node.set(node.make("gather_elements", {x, node.input(1)},
                     {{"axis", node.axis("axis", 0, x.type().rank())}}));
}

void import_gather_nd(NodeReader& node) {
  node.set(node.make("gather_nd", {node.input(0), node.input(1)},
                     {{"batch_dims", node.integer("batch_dims", 0)}}));
}

void import_scatter_elements(NodeReader& node) {
  const Value x = node.input(0);
  node.set(node.make("scatter_elements", {x, node.input(1), node.input(2)},
                     {{"axis", node.axis("axis", 0, x.type().rank())},
                      {"reduction", node.text("reduction", "none")}}));
}

void import_scatter_nd(NodeReader& node) {
  node.set(node.make("scatter_nd", {node.input(0), node.input(1), node.input(2)},
                     {{"reduction", node.text("reduction", "none")}}));
}

/// k was an attribute until opset 9. The results are sorted whether or not that is asked for.
void import_top_k(NodeReader& node) {
  const Value x = node.input(0);
  const std::int64_t k = node.has_input(1) ? node.integer_input(1) : node.integer("k", 0);
  Node* found = node.make_node("top_k", {x},
                               {{"k", k},
                                {"axis", node.axis("axis", -1, x.type().rank())},
                                {"largest", node.flag("largest", true)}});
  node.set(0, found->result(0));
  node.set(1, found->result(1));
}

void import_reverse_sequence(NodeReader& node) {
  const Value x = node.input(0);
  node.set(node.make("reverse_sequence", {x, node.input(1)},
                     {{"batch_axis", node.axis("batch_axis", 1, x.type().rank())},
                      {"time_axis", node.axis("time_axis", 0, x.type().rank())}}));
}

}  // namespace

void add_index_handlers(HandlerTable& table) {
  table.add("Gather", import_gather);
  table.add("GatherElements", import_gather_elements);
  table.add("GatherND", import_gather_nd);
  table.add("ScatterElements", import_scatter_elements);
  table.add("Scatter", import_scatter_elements);
  table.add("ScatterND", import_scatter_nd);
  table.add("TopK", import_top_k);
  table.add("ReverseSequence", import_reverse_sequence);
}

}  // namespace facet::onnx_import
