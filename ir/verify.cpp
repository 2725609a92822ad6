#include <fmt/format.h>

#include <map>
#include <set>

#include "ir/error.h"
#include "ir/op.h"

namespace facet {
namespace {

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph) {}

  void run() {
    for (const auto& node : graph_.nodes()) {
      check_operands(*node);
      check_types(*node);
      check_uses(*node);
      seen_.insert(node.get());
    }
    check_outputs();
  }

 private:
  [[noreturn]] void fail(const Node& node, const std::string& why) const {
    throw failure(fmt::format("graph '{}' is broken at {} ({}): {}", graph_.name(), node.kind(),
                              node.provenance().scope, why));
  }

  void check_operands(const Node& node) const {
    const auto [least, most] = node.op().signature.arity();
    if (node.operand_count() < least || (most >= 0 && node.operand_count() > most)) {
      fail(node, fmt::format("it has {} operands", node.operand_count()));
    }
    for (const Value& value : node.operands()) {
      if (!value) fail(node, "an operand is missing");
      if (!seen_.contains(value.node)) {
        fail(node, fmt::format("it reads '{}' ({}), which does not stand before it",
                               value.node->kind(), value.node->provenance().scope));
      }
      if (value.index < 0 || value.index >= value.node->result_count()) {
        fail(node, fmt::format("it reads result {} of '{}'", value.index, value.node->kind()));
      }
    }
  }

  void check_types(const Node& node) const {
    std::vector<Type> operands;
    for (const Value& value : node.operands()) {
      operands.push_back(value.type());
      operands.back().layout.clear();
    }
    std::vector<Type> expected;
    try {
      expected = node.op().infer(InferContext{node.op(), operands, node.attributes()});
    } catch (const Error& error) {
      fail(node, error.what());
    }
    if (expected.size() != node.result_types().size()) fail(node, "its number of results is wrong");
    for (std::size_t i = 0; i < expected.size(); ++i) {
      Type found = node.result_types()[i];
      if (expected[i].layout.empty()) found.layout.clear();
      if (!(expected[i] == found)) {
        fail(node, fmt::format("result {} is {} where {} is inferred", i, to_string(found),
                               to_string(expected[i])));
      }
    }
    if (node.is("parameter")) check_parameter(node);
  }

  void check_parameter(const Node& node) const {
    const Parameter* parameter = graph_.find_parameter(node.attributes().text("key"));
    if (parameter == nullptr) fail(node, "the state_dict has no such key");
    if (!(parameter->type == node.result_types()[0])) {
      fail(node, fmt::format("it is read as {} but declared as {}",
                             to_string(node.result_types()[0]), to_string(parameter->type)));
    }
  }

  void check_uses(const Node& node) const {
    for (const auto& [index, use] : node.all_uses()) {
      const bool exact = use.operand < use.node->operand_count() &&
                         use.node->operand(use.operand) == Value{const_cast<Node*>(&node), index};
      if (!exact) fail(node, "a use is recorded that does not read it");
    }
    for (int i = 0; i < node.operand_count(); ++i) {
      int found = 0;
      for (const auto& [index, use] : node.operand(i).node->all_uses()) {
        found += use.node == &node && use.operand == i ? 1 : 0;
      }
      if (found != 1) fail(node, fmt::format("operand {} is recorded {} times as a use", i, found));
    }
  }

  void check_outputs() const {
    std::set<std::string> names;
    for (const Output& output : graph_.outputs()) {
      if (!output.value || !seen_.contains(output.value.node)) {
        throw failure(fmt::format("output '{}' of graph '{}' is not in the graph", output.name,
                                  graph_.name()));
      }
      if (!names.insert(output.name).second) {
        throw failure(fmt::format("graph '{}' has two outputs '{}'", graph_.name(), output.name));
      }
    }
  }

  const Graph& graph_;
  std::set<const Node*> seen_;
};

}  // namespace

void verify(const Graph& graph) { Verifier(graph).run(); }

}  // namespace facet
