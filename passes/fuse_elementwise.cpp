#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "ir/elementwise_program.h"
#include "ir/op.h"
#include "passes/pass.h"

// fuse-elementwise: a chain of scalar functions becomes one `elementwise` node: one read of every
// operand, one write, nothing in between in memory.
//
//   before   %2 = mul(%0, %1)   %3 = add(%2, %r)   %4 = relu(%3)
//   after    %4 = elementwise(%0, %1, %r) {program = ["mul 0 1", "add 3 2", "relu 4"]}
//
// Refused: a producer with other readers (it would be computed twice), of another shape (it would be
// computed again for every element it is broadcast to), of another dtype; what is prepared.

namespace facet {
namespace {

/// Programs compute in f32, so integer arithmetic stays as it is.
bool is_scalar_function(const Node& node) {
  return (node.is("elementwise") || elementwise_arity(node.kind()) > 0) &&
         is_float(node.result_types()[0].dtype);
}

/// A program under construction; operands are kept once each.
class ProgramBuilder {
 public:
  explicit ProgramBuilder(Builder build) : build_(build) {}

  /// Adds the node's instructions; operands in `inlined` become their own instructions first.
  ElementwiseArgument add(Node& node, const std::map<Value, Node*>& inlined) {
    std::vector<ElementwiseArgument> arguments;
    for (int i = 0; i < node.operand_count(); ++i) {
      const Value value = node.operand(i);
      const auto it = inlined.find(value);
      arguments.push_back(it != inlined.end() ? add(*it->second, inlined)
                                              : operand(node.is("prelu") && i == 1
                                                            ? broadcastable_slope(node)
                                                            : value));
    }
    if (!node.is("elementwise")) {
      if (node.is("clamp")) {
        for (const char* bound : {"min", "max"}) {
          arguments.push_back({true, node.attributes().number(bound), 0});
        }
      }
      return emit({std::string(node.kind()), std::move(arguments)});
    }
    std::vector<ElementwiseArgument> values = std::move(arguments);
    for (const ElementwiseInstruction& line :
         parse_elementwise(node.attributes().strings("program"), values.size())) {
      ElementwiseInstruction renumbered{line.op, {}};
      for (const ElementwiseArgument& argument : line.arguments) {
        renumbered.arguments.push_back(argument.is_literal ? argument : values[argument.value]);
      }
      values.push_back(emit(std::move(renumbered)));
    }
    return values.back();
  }

  const std::vector<Value>& operands() const { return operands_; }
  /// Lines with final numbers: operands first, then instructions.
  Strings program() const {
    Strings lines;
    for (ElementwiseInstruction line : instructions_) {
      for (ElementwiseArgument& argument : line.arguments) {
        if (argument.value >= kInstruction) {
          argument.value = argument.value - kInstruction + operands_.size();
        }
      }
      lines.push_back(to_string(line));
    }
    return lines;
  }

 private:
  /// Instruction j is numbered kInstruction + j until the number of operands is known.
  static constexpr std::size_t kInstruction = std::size_t{1} << 32;

  ElementwiseArgument operand(Value value) {
    if (value.node->is("constant") && element_count(value.shape()) == Dim(1)) {
      return {true, value.node->attributes().tensor("value").at(0), 0};
    }
    const auto it = std::find(operands_.begin(), operands_.end(), value);
    if (it == operands_.end()) operands_.push_back(value);
    const auto index = static_cast<std::size_t>(
        std::find(operands_.begin(), operands_.end(), value) - operands_.begin());
    return {false, 0, index};
  }

  /// The op's slope runs along axis 1; the program broadcasts, so it becomes [C, 1, ...].
  Value broadcastable_slope(const Node& prelu) {
    Ints shape(static_cast<std::size_t>(prelu.operand(0).type().rank()) - 1, 1);
    if (shape.empty() || element_count(prelu.operand(1).shape()) == Dim(1)) return prelu.operand(1);
    shape[0] = -1;
    return build_("reshape", {prelu.operand(1)}, {{"shape", shape}});
  }

  ElementwiseArgument emit(ElementwiseInstruction instruction) {
    instructions_.push_back(std::move(instruction));
    return {false, 0, kInstruction + instructions_.size() - 1};
  }

  Builder build_;
  std::vector<Value> operands_;
  std::vector<ElementwiseInstruction> instructions_;
};

/// Producers that can move into `node`, by value, transitively.
void collect(const Graph& graph, const Node& node, const Type& type, PassContext& context,
             std::map<Value, Node*>& inlined) {
  for (const Value& value : node.operands()) {
    Node* producer = value.node;
    if (!is_scalar_function(*producer) || is_prepared(value) || inlined.contains(value)) continue;
    const std::string pattern = fmt::format("{}+{}", producer->kind(), node.kind());
    if (!(value.type() == type)) {
      context.missed(*producer, pattern, "it would be computed again for every broadcast element");
      continue;
    }
    if (graph.use_count(value) != 1) {
      context.missed(*producer, pattern,
                     fmt::format("its result has {} readers", graph.use_count(value)));
      continue;
    }
    inlined.emplace(value, producer);
    collect(graph, *producer, type, context, inlined);
  }
}

}  // namespace

bool fuse_elementwise(Graph& graph, PassContext& context) {
  bool changed = false;
  std::vector<Node*> nodes = graph.node_list();
  // Last nodes first, so that a chain is taken whole from its end.
  std::map<const Node*, bool> erased;
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    Node* node = *it;
    if (erased[node] || !is_scalar_function(*node) || is_prepared(node->result())) continue;
    std::map<Value, Node*> inlined;
    collect(graph, *node, node->result_types()[0], context, inlined);
    if (inlined.empty()) continue;
    ProgramBuilder program(Builder(graph, node, node->provenance()));
    program.add(*node, inlined);
    Provenance provenance = node->provenance();
    for (const auto& [value, producer] : inlined) provenance.origins.push_back(producer->provenance().scope);
    provenance.origins.push_back(node->provenance().scope);
    std::sort(provenance.origins.begin(), provenance.origins.end());
    provenance.origins.erase(std::unique(provenance.origins.begin(), provenance.origins.end()),
                             provenance.origins.end());
    Node* fused = graph.create("elementwise", program.operands(), {{"program", program.program()}},
                               std::move(provenance), node);
    graph.replace_uses(node->result(), fused->result());
    std::string pattern = "elementwise";
    for (const std::string& line : program.program()) {
      pattern.append(" ").append(line, 0, line.find(' '));
    }
    context.applied(*fused, pattern);
    graph.erase(node);
    for (bool progress = true; progress;) {
      progress = false;
      for (const auto& [value, producer] : inlined) {
        if (erased[producer] || !producer->all_uses().empty()) continue;
        erased[producer] = true;
        graph.erase(producer);
        progress = true;
      }
    }
    changed = true;
  }
  return changed;
}

}  // namespace facet
