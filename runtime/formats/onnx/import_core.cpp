#include "runtime/formats/onnx/node_reader.h"

// Operators that are one op of ours, or a short composition.

namespace facet::onnx_import {
namespace {

template <const char* const& op>
void unary(NodeReader& node) {
  node.set(node.make(op, {node.input(0)}));
}

template <const char* const& op>
void binary(NodeReader& node) {
  node.set(node.make(op, {node.input(0), node.input(1)}));
}

constexpr const char* kRelu = "relu";
constexpr const char* kAdd = "add";

}  // namespace

void add_core_handlers(HandlerTable& table) {
  table.add("Relu", unary<kRelu>);
  table.add("Add", binary<kAdd>);
}

}  // namespace facet::onnx_import
