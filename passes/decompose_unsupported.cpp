#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"
#include "ir/op.h"
#include "passes/pass.h"

// decompose-unsupported: a node that the target does not run is replaced by its decomposition,
// until everything runs. A plain op that does not run is an error that names node, type and target.
//
//   before   %1 = prelu(%0, %s)        (a target without prelu)
//   after    %1 = add(relu(%0), mul(minimum(%0, 0), %s))
//
// What reads a low dtype that the target does not multiply (bf16 on a CPU without AVX-512) is
// computed in f32 whole, ahead of any decomposition: its epilogue stays with it and is rounded
// once.
//
//   before   %1 = conv(%0, %w) : bf16
//   after    %1 = cast(conv(cast(%0) : f32, cast(%w) : f32) : f32) : bf16

namespace facet {
namespace {

bool is_low(DType dtype) { return dtype == DType::bf16 || dtype == DType::f16; }

bool reads_unmultiplied(const Node& node, const Target& target) {
  const auto operands = node.operands();
  return std::any_of(operands.begin(), operands.end(), [&](const Value& operand) {
    return is_low(operand.dtype()) && !target.multiplies(operand.dtype());
  });
}

/// The node on f32 operands, and its results cast to what they were.
void widen(Graph& graph, Node* node) {
  Builder build(graph, node, node->provenance());
  const auto cast = [&](Value value, DType dtype) {
    return build("cast", {value}, {{"dtype", std::string(to_string(dtype))}});
  };
  std::vector<Value> operands;
  for (const Value& operand : node->operands()) {
    operands.push_back(is_low(operand.dtype()) ? cast(operand, DType::f32) : operand);
  }
  Node* wide = build.node(node->kind(), std::move(operands), node->attributes());
  for (int i = 0; i < node->result_count(); ++i) {
    const Value result = wide->result(i);
    const DType dtype = node->result(i).dtype();
    graph.replace_uses(node->result(i), result.dtype() == dtype ? result : cast(result, dtype));
  }
  graph.erase(node);
}

}  // namespace

bool decompose_unsupported(Graph& graph, PassContext& context) {
  if (context.target == nullptr) return false;
  bool changed = false;
  for (bool again = true; again;) {
    again = false;
    for (Node* node : graph.node_list()) {
      if (node->op().cost.is_free() && node->operand_count() == 0) continue;  // leaves
      if (context.target->supports(*node)) continue;
      const std::string scope = node->provenance().scope;
      const std::string what =
          fmt::format("{} : {}", node->kind(), to_string(node->result_types()[0]));
      if (reads_unmultiplied(*node, *context.target)) {
        widen(graph, node);
      } else if (!decompose(graph, node)) {
        throw failure(fmt::format("the {} target cannot run {} ({}), and it has no plainer form",
                                  context.target->name(), what, scope));
      }
      again = changed = true;
    }
  }
  return changed;
}

}  // namespace facet
