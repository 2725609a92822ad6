#include "ir/op.h"

#include <fmt/format.h>

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

Value Builder::operator()(std::string_view op, std::vector<Value> operands, Attributes attributes) {
  return graph_->create(op, std::move(operands), std::move(attributes), provenance_, before_)
      ->result();
}

Value Builder::scalar(double value, DType dtype) {
  return (*this)("constant", {}, {{"value", HostTensor::scalar(dtype, value)}});
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
