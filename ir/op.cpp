#include "ir/op.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"

namespace facet {

std::pair<int, int> Signature::arity() const {
  int least = 0;
  int most = 0;
  for (const std::string_view name : operands) {
    if (name.ends_with("...")) return {least, -1};
    ++most;
    if (!name.ends_with('?')) ++least;
  }
  return {least, most};
}

void check_attributes(const OpDef& op, const Attributes& attributes) {
  for (const auto& [name, value] : attributes) {
    const auto spec = std::find_if(op.attributes.begin(), op.attributes.end(),
                                   [&key = name](const AttributeSpec& s) { return s.name == key; });
    if (spec == op.attributes.end()) {
      throw usage_error(fmt::format("op '{}' has no attribute '{}'", op.name, name));
    }
    if (spec->default_value.index() != value.index()) {
      throw usage_error(fmt::format("attribute '{}' of op '{}' cannot be {}", name, op.name,
                                    to_string(value)));
    }
  }
  for (const AttributeSpec& spec : op.attributes) {
    if (!attributes.has(spec.name)) {
      throw usage_error(fmt::format("attribute '{}' of op '{}' is not set", spec.name, op.name));
    }
  }
}

Value Builder::operator()(std::string_view op, std::vector<Value> operands, Attributes attributes) {
  return node(op, std::move(operands), std::move(attributes))->result();
}

Node* Builder::node(std::string_view op, std::vector<Value> operands, Attributes attributes) {
  return graph_->create(op, std::move(operands), std::move(attributes), provenance_, before_);
}

Value Builder::scalar(double value, DType dtype) {
  return (*this)("constant", {}, {{"value", HostTensor::scalar(dtype, value)}});
}

std::vector<Overwrite> overwrites_of(const Node& node) {
  if (node.op().aliasing != Aliasing::in_place) return {};
  std::vector<Overwrite> list = node.op().overwrites;
  if (list.empty()) {
    for (int i = 0; i < node.operand_count(); ++i) list.push_back({0, i});
  }
  std::erase_if(list, [&](const Overwrite& pair) {
    return pair.result >= node.result_count() || pair.operand >= node.operand_count();
  });
  return list;
}

bool decompose(Graph& graph, Node* node) {
  const Decomposition::Rule rule = node->op().decomposition.function();
  if (rule == nullptr) return false;
  Builder build(graph, node, node->provenance());
  const std::vector<Value> results = rule(build, *node);
  if (results.empty()) return false;  // this node is plain already
  for (std::size_t i = 0; i < results.size(); ++i) {
    graph.replace_uses(node->result(static_cast<int>(i)), results[i]);
  }
  graph.erase(node);
  return true;
}

}  // namespace facet
