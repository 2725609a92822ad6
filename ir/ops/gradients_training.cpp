#include "ir/error.h"
#include "ir/ops/gradients.h"

// Gradients of what steers differentiation, of batch statistics and of ops that read labels.

namespace facet::ops {

Values straight_through_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {Value{}, cast_like(build, cotangents[0], node.operand(1))};
}

/// The same mask: seed, step and place decide it.
Values dropout_train_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("dropout_train", {cotangents[0], node.operand(1)}, node.attributes()), Value{}};
}

Values batch_norm_train_gradient(Builder& build, Node& node, Cotangents cotangents) {
  for (std::size_t i = 1; i < cotangents.size(); ++i) {
    if (!cotangents[i]) continue;
    throw usage_error(
        "the batch statistics that batch_norm_train gives are not differentiated; read them behind "
        "a "
        "stop_gradient");
  }
  const Value x = node.operand(0), scale = node.operand(1), bias = node.operand(2);
  Strings tail = node.attributes().strings("tail");
  const bool is_sum = !tail.empty() && tail[0] == "add";
  std::vector<Value> operands{cotangents[0], x, scale, node.result(1), node.result(2)};
  if (tail == Strings{"add"}) {
    tail.clear();  // the cotangent passes the addition as it is
  } else if (is_sum) {
    operands.push_back(node.result(0));
  } else if (!tail.empty()) {
    operands.push_back(bias);
    if (tail[0] == "prelu") operands.push_back(node.operand(5));
  }
  Node* all = build.node("batch_norm_bwd", std::move(operands), {{"tail", tail}});
  Values result{cast_like(build, all->result(0), x), cast_like(build, all->result(1), scale),
                cast_like(build, all->result(2), bias), Value{}, Value{}};
  if (node.operand_count() > 5) {
    result.push_back(cast_like(build, all->result_count() > 3 ? all->result(3) : cotangents[0],
                               node.operand(5)));
  }
  return result;
}

Values cross_entropy_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value logits = node.operand(0);
  Value sum;
  if (cotangents[0]) {
    sum = build("cross_entropy_bwd", {cotangents[0], logits, node.operand(1), node.result(1)},
                node.attributes());
  }
  if (cotangents[1]) {  // the gradient of log_sum_exp is the softmax
    const Value rows = build("reshape", {cotangents[1]}, {{"shape", Ints{-1, 1}}});
    const Value part = build("mul", {rows, build("softmax", {logits})});
    sum = sum ? build("add", {sum, part}) : part;
  }
  return {cast_like(build, sum, logits), Value{}};
}

Values pick_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("pick_bwd", {cotangents[0], node.operand(1)},
                {{"classes", node.operand(0).shape()[1].factor}}),
          Value{}};
}

Values place_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value dy = cotangents[0], labels = node.operand(1), v = node.operand(2);
  const HostTensor zeros(v.dtype(), static_extents(v.shape()));
  return {build("place", {dy, labels, build("constant", {}, {{"value", zeros}})}), Value{},
          cast_like(build, build("pick", {dy, labels}), v)};
}

Values gather_rows_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("scatter_add_rows", {cotangents[0], node.operand(1)},
                {{"rows", node.operand(0).shape()[0].factor}}),
          Value{}};
}

Values scatter_add_rows_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("gather_rows", {cotangents[0], node.operand(1)}), Value{}};
}

}  // namespace facet::ops
