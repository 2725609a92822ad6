#include <fmt/format.h>

#include <map>
#include <set>
#include <string_view>

#include "ir/error.h"
#include "ir/op.h"

namespace facet {
namespace {

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph) {}

  void run() {
    check_parameters();
    for (const auto& node : graph_.nodes()) {
      check_operands(*node);
      check_attributes_and_types(*node);
      check_uses(*node);
      if (node->is("input")) check_input(*node);
      if (node->is("parameter")) check_parameter(*node);
      seen_.insert(node.get());
    }
    check_named("output", graph_.outputs(), true);
    check_named("update", graph_.updates(), true);
    check_updates();
    check_named("tap", graph_.taps(), false);
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw failure(fmt::format("graph '{}' is broken: {}", graph_.name(), why));
  }
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

  void check_attributes_and_types(const Node& node) const {
    std::vector<Type> operands;
    for (const Value& value : node.operands()) {
      operands.push_back(value.type());
      operands.back().layout.clear();
    }
    std::vector<Type> expected;
    try {
      check_attributes(node.op(), node.attributes());
      expected = node.op().infer(InferContext{node.op(), operands, node.attributes()});
    } catch (const Error& error) {
      fail(node, error.what());
    }
    if (expected.size() != node.result_types().size()) {
      fail(node, fmt::format("it has {} results where {} are inferred", node.result_types().size(),
                             expected.size()));
    }
    for (std::size_t i = 0; i < expected.size(); ++i) {
      Type found = node.result_types()[i];
      if (expected[i].layout.empty()) found.layout.clear();
      if (!(expected[i] == found)) {
        fail(node, fmt::format("result {} is {} where {} is inferred", i, to_string(found),
                               to_string(expected[i])));
      }
    }
  }

  void check_parameters() {
    for (const Parameter& parameter : graph_.parameters()) {
      if (!parameters_.emplace(parameter.key, &parameter).second) {
        fail(fmt::format("parameter '{}' is declared twice", parameter.key));
      }
      const HostTensor& fixed = parameter.fixed;
      if (fixed.empty()) continue;
      const Type type{fixed.dtype(), Shape(fixed.shape().begin(), fixed.shape().end()), {}};
      if (!(type == parameter.type)) {
        fail(fmt::format("parameter '{}' is {} but its fixed values are {}", parameter.key,
                         to_string(parameter.type), to_string(type)));
      }
    }
  }

  void check_input(const Node& node) {
    const std::string& name = node.attributes().text("name");
    if (!inputs_.insert(name).second) fail(node, fmt::format("a second input '{}'", name));
  }

  void check_parameter(const Node& node) const {
    const std::string& key = node.attributes().text("key");
    const auto found = parameters_.find(key);
    if (found == parameters_.end()) fail(node, fmt::format("the state_dict has no key '{}'", key));
    const Type& declared = found->second->type;
    Type read = node.result_types()[0];
    // State lies as the target wants.
    if (node.attributes().boolean("mutable")) read.layout.clear();
    if (!(declared == read)) {
      fail(node, fmt::format("'{}' is read as {} but declared as {}", key,
                             to_string(node.result_types()[0]), to_string(declared)));
    }
  }

  void check_uses(const Node& node) const {
    for (const auto& [index, use] : node.all_uses()) {
      const bool exact = &use.node->graph() == &graph_ && use.operand < use.node->operand_count() &&
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

  void check_named(std::string_view what, const std::vector<Output>& list, bool distinct) const {
    std::set<std::string_view> names;
    for (const auto& [name, value] : list) {
      if (!value || !seen_.contains(value.node) || value.index < 0 ||
          value.index >= value.node->result_count()) {
        fail(fmt::format("{} '{}' is not a value of it", what, name));
      }
      if (!names.insert(name).second && distinct) {
        fail(fmt::format("it has two {}s '{}'", what, name));
      }
    }
  }

  /// Updates fit the state they change, and the nodes that read it say so.
  void check_updates() const {
    std::set<std::string_view> updated;
    for (const auto& [key, value] : graph_.updates()) {
      updated.insert(key);
      const auto found = parameters_.find(key);
      if (found == parameters_.end()) fail(fmt::format("it updates '{}', which it lacks", key));
      Type type = value.type();
      type.layout.clear();
      if (!(found->second->type == type)) {
        fail(fmt::format("the update of '{}' is {} where {} is declared", key, to_string(type),
                         to_string(found->second->type)));
      }
    }
    for (const auto& node : graph_.nodes()) {
      if (!node->is("parameter")) continue;
      if (node->attributes().boolean("mutable") != updated.contains(node->attributes().text("key"))) {
        fail(*node, "its attribute `mutable` does not say whether it is updated");
      }
    }
  }

  const Graph& graph_;
  std::set<const Node*> seen_;
  std::set<std::string_view> inputs_;
  std::map<std::string_view, const Parameter*> parameters_;
};

}  // namespace

void verify(const Graph& graph) { Verifier(graph).run(); }

}  // namespace facet
