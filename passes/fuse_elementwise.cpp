#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "ir/elementwise_program.h"
#include "ir/op.h"
#include "passes/pass.h"

// fuse-elementwise: a chain of scalar functions becomes one `elementwise` node: one read of every
// operand, one write, nothing in between in memory.
//
//   before   %2 = mul(%0, %1)   %3 = add(%2, %r)   %4 = relu(%3)
//   after    %4 = elementwise(%0, %1, %r) {program = ["mul 0 1", "add 3 2", "relu 4"]}
//
// A producer that several members of the chain read is computed once: x * sigmoid(x) is one node.
// Refused: a producer that others read too (it would be computed twice), of another shape (it would be
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

  /// Adds the node's instructions, once; operands in `inlined` become their own instructions first.
  ElementwiseArgument add(Node& node, const std::map<Value, Node*>& inlined) {
    const auto known = results_.find(&node);
    if (known != results_.end()) return known->second;
    return results_[&node] = add_new(node, inlined);
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

  ElementwiseArgument add_new(Node& node, const std::map<Value, Node*>& inlined) {
    std::vector<ElementwiseArgument> arguments;
    for (int i = 0; i < node.operand_count(); ++i) {
      const Value value = node.operand(i);
      const auto it = inlined.find(value);
      if (it != inlined.end()) {
        arguments.push_back(add(*it->second, inlined));
      } else if (can_be_literal(node, i)) {
        arguments.push_back({true, value.node->attributes().tensor("value").at(0), 0});
      } else {
        arguments.push_back(operand(node.is("prelu") && i == 1 ? broadcastable_slope(node) : value));
      }
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

  /// A literal has no axes: a constant that gives the result its rank stays an operand.
  static bool can_be_literal(const Node& node, int index) {
    const Value value = node.operand(index);
    if (!is_one_number(value)) return false;
    return std::any_of(node.operands().begin(), node.operands().end(), [&](const Value& other) {
      return !is_one_number(other) && other.type().rank() >= value.type().rank();
    });
  }
  static bool is_one_number(Value value) {
    return value.node->is("constant") && element_count(value.shape()) == Dim(1);
  }

  ElementwiseArgument operand(Value value) {
    const auto it = std::find(operands_.begin(), operands_.end(), value);
    if (it == operands_.end()) operands_.push_back(value);
    const auto index = static_cast<std::size_t>(
        std::find(operands_.begin(), operands_.end(), value) - operands_.begin());
    return {false, 0, index};
  }

  /// The op's slope runs along axis 1; the program broadcasts, so it becomes [C, 1, ...] unless axis
  /// 1 is the last.
  Value broadcastable_slope(const Node& prelu) {
    Ints shape(static_cast<std::size_t>(prelu.operand(0).type().rank()) - 1, 1);
    if (shape.size() < 2 || prelu.operand(1).shape() == Shape{1}) return prelu.operand(1);
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
  std::map<const Node*, ElementwiseArgument> results_;
};

/// The nodes that become one: the last of a chain and the producers that move into it.
class Chain {
 public:
  Chain(const Graph& graph, Node* last) : graph_(graph), members_{last} {
    for (bool grown = true; grown;) {  // a producer may have to wait for its other readers
      grown = false;
      for (std::size_t i = 0; i < members_.size(); ++i) grown |= take_producers(*members_[i]);
    }
  }

  /// By value; the last node is not among them.
  const std::map<Value, Node*>& inlined() const { return inlined_; }

  /// A remark for every producer that stays outside.
  void explain(PassContext& context) const {
    std::set<Value> told;
    for (const Node* member : members_) {
      for (const Value& value : member->operands()) {
        if (!is_candidate(value) || !told.insert(value).second) continue;
        context.missed(*value.node, fmt::format("{}+{}", value.node->kind(), member->kind()),
                       refusal(value));
      }
    }
  }

 private:
  bool is_candidate(Value value) const {
    return is_scalar_function(*value.node) && !inlined_.contains(value) && !is_prepared(value);
  }

  bool take_producers(const Node& member) {
    bool grown = false;
    for (const Value& value : member.operands()) {
      if (!is_candidate(value) || !refusal(value).empty()) continue;
      inlined_.emplace(value, value.node);
      members_.push_back(value.node);
      grown = true;
    }
    return grown;
  }

  /// Why the value cannot move into the chain as it is now; empty if it can.
  std::string refusal(Value value) const {
    const Type& type = members_[0]->result_types()[0];
    if (value.dtype() != type.dtype) {
      return fmt::format("it computes in {} where the chain is {}", to_string(value.dtype()),
                         to_string(type.dtype));
    }
    if (!(value.type() == type)) return "it would be computed again for every broadcast element";
    const auto uses = value.node->uses(value.index);
    const bool all_inside = std::all_of(uses.begin(), uses.end(), [&](const Use& use) {
      return use.node == members_[0] || inlined_.contains(use.node->result());
    });
    if (all_inside && !graph_.is_output(value)) return {};
    return fmt::format("its result has {} readers", graph_.use_count(value));
  }

  const Graph& graph_;
  std::vector<Node*> members_;
  std::map<Value, Node*> inlined_;
};

/// The node's place; the origins are all scopes the fused node stands for.
Provenance joined(const Node& node, const std::map<Value, Node*>& inlined) {
  Provenance result = node.provenance();
  const auto append = [&](const Provenance& from) {
    auto& origins = result.origins;
    origins.insert(origins.end(), from.origins.begin(), from.origins.end());
    if (from.origins.empty()) origins.push_back(from.scope);
  };
  if (result.origins.empty()) result.origins.push_back(result.scope);
  for (const auto& [value, producer] : inlined) append(producer->provenance());
  std::sort(result.origins.begin(), result.origins.end());
  result.origins.erase(std::unique(result.origins.begin(), result.origins.end()),
                       result.origins.end());
  return result;
}

/// One `elementwise` node in place of `node` and what moved into it.
Node* replace(Graph& graph, Node* node, const std::map<Value, Node*>& inlined) {
  ProgramBuilder program(Builder(graph, node, node->provenance()));
  program.add(*node, inlined);
  Node* fused = graph.create("elementwise", program.operands(), {{"program", program.program()}},
                             joined(*node, inlined), node);
  const Type& type = node->result_types()[0];
  if (fused->result().dtype() != type.dtype) {  // a producer's own dtype, or a literal's, decided
    fused->attributes().set("dtype", std::string(to_string(type.dtype)));
    fused->set_result_type(0, type);
  }
  graph.replace_uses(node->result(), fused->result());
  return fused;
}

}  // namespace

bool fuse_elementwise(Graph& graph, PassContext& context) {
  bool changed = false;
  const std::vector<Node*> nodes = graph.node_list();
  std::set<const Node*> erased;
  // Last nodes first, so that a chain is taken whole from its end.
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    Node* node = *it;
    if (erased.contains(node) || !is_scalar_function(*node) || is_prepared(node->result())) continue;
    const Chain chain(graph, node);
    chain.explain(context);
    const std::map<Value, Node*>& inlined = chain.inlined();
    if (inlined.empty()) continue;
    Node* fused = replace(graph, node, inlined);
    std::string pattern = "elementwise";
    for (const std::string& line : fused->attributes().strings("program")) {
      pattern.append(" ").append(line, 0, line.find(' '));
    }
    context.applied(*fused, pattern);
    graph.erase(node);
    for (auto dead = std::next(it); dead != nodes.rend(); ++dead) {  // readers before producers
      if (erased.contains(*dead) || !inlined.contains((*dead)->result())) continue;
      graph.erase(*dead);
      erased.insert(*dead);
    }
    changed = true;
  }
  return changed;
}

}  // namespace facet
