#include <algorithm>
#include <array>
#include <numeric>

#include "ir/op.h"
#include "passes/pass.h"

// canonicalize: one spelling for each meaning, so that later passes match one pattern.
//
//   reshape to the same shape, cast to the same dtype, identity transpose, whole slice,
//   concat of one, x + 0, x * 1, x / 1                      -> the operand
//   reshape(reshape(x)), transpose(transpose(x))            -> one of them
//   constant or parameter first in add, mul, maximum, minimum -> second
//   avg_pool whose one window is the whole map, no padding  -> reduce_mean over H and W
//   negative axes of reductions, softmax, concat, slice     -> counted from the front, sorted
//
// Refused: an identity whose result type differs from the operand's (broadcasting x * 1).

namespace facet {
namespace {

bool is_scalar_constant(Value value, double number) {
  if (!value.node->is("constant")) return false;
  const HostTensor& tensor = value.node->attributes().tensor("value");
  return tensor.element_count() == 1 && tensor.at(0) == number;
}

bool is_identity_permutation(const Ints& permutation) {
  for (std::size_t i = 0; i < permutation.size(); ++i) {
    if (permutation[i] != static_cast<std::int64_t>(i)) return false;
  }
  return true;
}

/// The operand this node equals, or null.
Value equal_operand(const Node& node) {
  if (node.operand_count() == 0) return {};
  const Value x = node.operand(0);
  if (!(node.result_types()[0] == x.type())) return {};
  const Attributes& a = node.attributes();
  if (node.is("reshape") || node.is("cast") || node.is("slice")) return x;
  if (node.is("concat") && node.operand_count() == 1) return x;
  if (node.is("transpose") && is_identity_permutation(a.ints("permutation"))) return x;
  if ((node.is("add") || node.is("sub")) && is_scalar_constant(node.operand(1), 0)) return x;
  if ((node.is("mul") || node.is("div")) && is_scalar_constant(node.operand(1), 1)) return x;
  return {};
}

bool merge_with_producer(Graph& graph, Node* node) {
  Node* producer = node->operand_count() > 0 ? node->operand(0).node : nullptr;
  if (producer == nullptr || producer->kind() != node->kind()) return false;
  if (node->is("reshape")) {
    Ints shape;  // at most one extent may be symbolic: it becomes the -1
    for (const Dim& dim : node->result_types()[0].shape) {
      shape.push_back(dim.is_static() ? dim.factor : -1);
    }
    if (std::count(shape.begin(), shape.end(), -1) > 1) return false;
    node->attributes().set("shape", std::move(shape));
  } else if (node->is("transpose")) {
    Ints merged;
    for (const std::int64_t axis : node->attributes().ints("permutation")) {
      merged.push_back(producer->attributes().ints("permutation")[static_cast<std::size_t>(axis)]);
    }
    node->attributes().set("permutation", std::move(merged));
  } else {
    return false;
  }
  node->set_operand(0, producer->operand(0));
  if (producer->all_uses().empty() && !graph.is_output(producer->result())) graph.erase(producer);
  return true;
}

bool order_operands(Node* node) {
  constexpr std::array<std::string_view, 4> kCommutative{"add", "mul", "maximum", "minimum"};
  if (std::find(kCommutative.begin(), kCommutative.end(), node->kind()) == kCommutative.end()) {
    return false;
  }
  const Value a = node->operand(0);
  const Value b = node->operand(1);
  if (!is_prepared(a) || is_prepared(b)) return false;
  node->set_operand(0, b);
  node->set_operand(1, a);
  return true;
}

bool pool_to_mean(Graph& graph, Node* node) {
  if (!node->is("avg_pool")) return false;
  const Shape& x = node->operand(0).shape();
  const Attributes& a = node->attributes();
  const Ints& kernel = a.ints("kernel");
  const bool whole = x[2] == Dim(kernel[0]) && x[3] == Dim(kernel[1]);
  const Ints& pads = a.ints("pads");
  if (!whole || std::any_of(pads.begin(), pads.end(), [](std::int64_t p) { return p != 0; })) {
    return false;
  }
  Builder build(graph, node, node->provenance());
  graph.replace_uses(node->result(),
                     build("reduce_mean", {node->operand(0)}, {{"axes", Ints{2, 3}}}));
  graph.erase(node);
  return true;
}

/// The axes count those of the first operand, but for a new axis and for the gradient of a maximum,
/// whose second operand is what was reduced.
std::int64_t rank_of_axes(const Node& node) {
  if (node.is("one_hot")) return node.result_types()[0].rank();
  if (node.is("reduce_max_bwd")) return node.operand(1).type().rank();
  return node.operand_count() > 0 ? node.operand(0).type().rank() : 0;
}

bool positive_axes(Node* node) {
  const std::int64_t rank = rank_of_axes(*node);
  Attributes& a = node->attributes();
  if (a.has("axes")) {
    Ints axes = a.ints("axes");
    for (std::int64_t& axis : axes) axis += axis < 0 ? rank : 0;
    std::sort(axes.begin(), axes.end());
    if (axes == a.ints("axes")) return false;
    a.set("axes", std::move(axes));
    return true;
  }
  if (a.has("axis") && a.integer("axis") < 0) {
    a.set("axis", a.integer("axis") + rank);
    return true;
  }
  return false;
}

}  // namespace

bool canonicalize(Graph& graph, PassContext&) {
  bool changed = false;
  // Producers come first in the list, so one sweep sees operands that are canonical already.
  for (Node* node : graph.node_list()) {
    changed |= positive_axes(node);
    changed |= order_operands(node);
    changed |= merge_with_producer(graph, node);
    if (const Value same = equal_operand(*node)) {
      graph.replace_uses(node->result(), same);
      graph.erase(node);
      changed = true;
      continue;
    }
    changed |= pool_to_mean(graph, node);
  }
  return changed;
}

}  // namespace facet
