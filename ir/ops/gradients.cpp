#include "ir/ops/gradients.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "ir/error.h"

// What gradient rules share, and the gradient of an op by way of its decomposition.

namespace facet::ops {

bool takes_cotangent(Value value) { return is_float(value.dtype()) && !value.node->is("constant"); }

Value cast_like(Builder& build, Value cotangent, Value value) {
  if (cotangent.dtype() == value.dtype()) return cotangent;
  return build("cast", {cotangent}, {{"dtype", std::string(to_string(value.dtype()))}});
}

Value reshape_like(Builder& build, Value x, const Shape& shape) {
  if (x.shape() == shape) return x;
  return build("reshape", {x}, {{"shape", static_extents(shape)}});
}

Value sum_to(Builder& build, Value cotangent, Value value) {
  const Shape& from = cotangent.shape();
  const Shape& to = value.shape();
  const std::size_t leading = from.size() - to.size();
  Ints axes;
  for (std::size_t axis = 0; axis < from.size(); ++axis) {
    if (axis < leading || !(from[axis] == to[axis - leading])) {
      axes.push_back(static_cast<std::int64_t>(axis));
    }
  }
  if (!axes.empty()) cotangent = build("reduce_sum", {cotangent}, {{"axes", std::move(axes)}});
  return cast_like(build, reshape_like(build, cotangent, to), value);
}

Value expand_to(Builder& build, Value x, const Shape& shape) {
  if (x.shape() == shape) return x;
  return build("expand", {x}, {{"shape", static_extents(shape)}});
}

namespace {

/// The reverse sweep over the few nodes of one decomposition.
class Sweep {
 public:
  Sweep(Builder& build, Node& node) : build_(build) {
    for (const Value operand : node.operands()) done_.insert(operand.node);
  }

  /// Adds a cotangent; a second one is summed to the first.
  void seed(Value value, Value cotangent) {
    Value& sum = cotangents_[value];
    sum = sum ? build_("add", {sum, cotangent}) : cotangent;
  }
  /// Puts the nodes that `value` needs, down to the operands of the decomposed node, in order.
  void visit(Value value) {
    if (!done_.insert(value.node).second) return;
    for (const Value operand : value.node->operands()) visit(operand);
    order_.push_back(value.node);
  }
  void run() {
    for (auto it = order_.rbegin(); it != order_.rend(); ++it) step(**it);
  }
  Value of(Value value) const {
    const auto found = cotangents_.find(value);
    return found == cotangents_.end() ? Value{} : found->second;
  }

 private:
  void step(Node& node) {
    Values results;
    bool any = false;
    for (int i = 0; i < node.result_count(); ++i) {
      results.push_back(of(node.result(i)));
      any = any || results.back();
    }
    if (!any || node.operand_count() == 0) return;
    const Gradient& gradient = node.op().gradient;
    if (!gradient.reason().empty()) {
      throw usage_error(fmt::format("op '{}' has no gradient: {}", node.kind(), gradient.reason()));
    }
    const Values operands = gradient.function() != nullptr
                                ? gradient.function()(build_, node, results)
                                : decomposed_gradient(build_, node, results);
    for (std::size_t i = 0; i < operands.size(); ++i) {
      if (operands[i]) seed(node.operand(static_cast<int>(i)), operands[i]);
    }
  }

  Builder& build_;
  std::set<const Node*> done_;
  std::vector<Node*> order_;
  std::map<Value, Value> cotangents_;
};

}  // namespace

Values decomposed_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Decomposition::Rule rule = node.op().decomposition.function();
  const Values plain = rule != nullptr ? rule(build, node) : Values{};
  if (plain.empty()) throw failure(fmt::format("'{}' does not decompose", node.kind()));
  Sweep sweep(build, node);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    if (!cotangents[i]) continue;
    sweep.visit(plain[i]);
    sweep.seed(plain[i], cotangents[i]);
  }
  sweep.run();
  Values result;
  std::set<Value> given;  // an operand that is read twice has one cotangent, with both parts in it
  for (const Value operand : node.operands()) {
    result.push_back(given.insert(operand).second ? sweep.of(operand) : Value{});
  }
  return result;
}

Values zero_gradient(Builder&, Node& node, Cotangents) {
  return Values(static_cast<std::size_t>(node.operand_count()));
}

Values identity_gradient(Builder&, Node&, Cotangents cotangents) { return {cotangents[0]}; }

}  // namespace facet::ops
