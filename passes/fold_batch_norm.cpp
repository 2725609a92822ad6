#include <fmt/format.h>

#include <algorithm>

#include "ir/epilogue.h"
#include "ir/op.h"
#include "passes/batch_norm.h"
#include "passes/pass.h"

// fold-batch-norm: an inference batch norm is y = s * x + t per channel with s = scale / sqrt(var +
// epsilon) and t = bias - mean * s, so it moves into the weights of a neighbouring conv or linear.
// The folded weights are new values computed from the parameters when weights are bound; the
// parameters themselves, which other layers may share, stay as they are.
//
// Behind a conv or linear (the usual case):
//   before   %2 = conv(%x, %w)            %3 = batch_norm(%2, ...)
//   after    %2 = conv(%x, %w * s, t) {epilogue = ["bias"]}
// Refused: the conv's result has other readers; its epilogue holds more than a bias.
//
// Before a conv (pre-activation blocks):
//   before   %2 = batch_norm(%x, ...)     %3 = conv(%2, %w)
//   after    %3 = conv(%x, %w * s, sum(%w * t)) {epilogue = ["bias"]}
// Refused: padding, because the border reads zeros behind the batch norm but would read -t/s before
// it; groups; other readers of the batch norm.

namespace facet {

/// The epsilon is a literal of the program: a constant would round it to f32.
Value batch_norm_scale(Builder& build, const Node& bn) {
  const std::string add = fmt::format("add 1 #{}", bn.attributes().number("epsilon"));
  return build("elementwise", {bn.operand(1), bn.operand(4)},
               {{"program", Strings{add, "rsqrt 2", "mul 0 3"}}});
}

Value batch_norm_shift(Builder& build, const Node& bn, Value scale) {
  return build("sub", {bn.operand(2), build("mul", {bn.operand(3), scale})});
}

namespace {

constexpr const char* kNotPrepared = "weights or statistics are computed while the network runs";

struct ScaleShift {
  Value scale;  // [C]
  Value shift;  // [C]
};

ScaleShift scale_and_shift(Builder& build, const Node& bn) {
  const Value scale = batch_norm_scale(build, bn);
  return {scale, batch_norm_shift(build, bn, scale)};
}

bool has_prepared_operands(const Node& node, int first) {
  for (int i = first; i < node.operand_count(); ++i) {
    if (!is_prepared(node.operand(i))) return false;
  }
  return true;
}

Provenance joined(const Node& a, const Node& b) {
  Provenance result = a.provenance();
  for (const Node* node : {&a, &b}) {
    const std::string& scope = node->provenance().scope;
    const auto& origins = node->provenance().origins;
    result.origins.insert(result.origins.end(), origins.begin(), origins.end());
    if (origins.empty() && !scope.empty()) result.origins.push_back(scope);
  }
  std::sort(result.origins.begin(), result.origins.end());
  result.origins.erase(std::unique(result.origins.begin(), result.origins.end()),
                       result.origins.end());
  return result;
}

/// Weight [O, ...] times one factor per output (axis 0) or per input channel (axis 1).
Value scale_weight(Builder& build, Value weight, Value factor, std::size_t axis) {
  Ints shape(static_cast<std::size_t>(weight.type().rank()), 1);
  shape[axis] = -1;
  return build("mul", {weight, build("reshape", {factor}, {{"shape", shape}})});
}

bool fold_behind(Graph& graph, Node* bn, PassContext& context) {
  Node* compute = bn->operand(0).node;
  if (!compute->is("conv") && !compute->is("linear")) return false;
  const Strings& epilogue = compute->attributes().strings("epilogue");
  const bool has_bias = epilogue == Strings{"bias"};
  const std::string pattern = fmt::format("{}+batch_norm", compute->kind());
  if (graph.use_count(bn->operand(0)) != 1) {
    context.missed(*bn, pattern, fmt::format("{} has {} readers", compute->provenance().scope,
                                             graph.use_count(bn->operand(0))));
    return false;
  }
  if ((!epilogue.empty() && !has_bias) || (compute->is("linear") && bn->operand(0).type().rank() != 2)) {
    context.missed(*bn, pattern, "what stands between them does not commute with a scale");
    return false;
  }
  if (!has_prepared_operands(*bn, 1) || !has_prepared_operands(*compute, 1)) {
    context.missed(*bn, pattern, kNotPrepared);
    return false;
  }
  Builder build(graph, bn, joined(*compute, *bn));
  const ScaleShift st = scale_and_shift(build, *bn);
  const Value weight = scale_weight(build, compute->operand(1), st.scale, 0);
  Value bias = st.shift;
  if (has_bias) bias = build("add", {build("mul", {compute->operand(2), st.scale}), bias});
  Attributes attributes = compute->attributes();
  attributes.set("epilogue", Strings{"bias"});
  const Value folded = build(compute->kind(), {compute->operand(0), weight, bias}, attributes);
  graph.replace_uses(bn->result(), folded);
  context.applied(*folded.node, pattern);
  graph.erase(bn);
  graph.erase(compute);
  return true;
}

bool fold_before(Graph& graph, Node* conv, PassContext& context) {
  if (!conv->is("conv") || !conv->operand(0).node->is("batch_norm")) return false;
  Node* bn = conv->operand(0).node;
  const std::string pattern = "batch_norm+conv";
  const Ints& pads = conv->attributes().ints("pads");
  if (std::any_of(pads.begin(), pads.end(), [](std::int64_t p) { return p != 0; })) {
    context.missed(*bn, pattern, "the conv pads with zeros behind the batch norm: not exact");
    return false;
  }
  if (graph.use_count(conv->operand(0)) != 1 || conv->attributes().integer("groups") != 1) {
    context.missed(*bn, pattern, "the batch norm has other readers, or the conv has groups");
    return false;
  }
  if (!has_prepared_operands(*bn, 1) || !is_prepared(conv->operand(1))) {
    context.missed(*bn, pattern, kNotPrepared);
    return false;
  }
  const Strings& epilogue = conv->attributes().strings("epilogue");
  const bool has_bias = !epilogue.empty() && epilogue[0] == "bias";
  Builder build(graph, conv, joined(*conv, *bn));
  const ScaleShift st = scale_and_shift(build, *bn);
  const Value weight = scale_weight(build, conv->operand(1), st.scale, 1);
  Value bias = build("reduce_sum", {scale_weight(build, conv->operand(1), st.shift, 1)},
                     {{"axes", Ints{1, 2, 3}}, {"keepdims", false}});
  if (has_bias) bias = build("add", {conv->operand(2), bias});
  std::vector<Value> operands{bn->operand(0), weight, bias};
  for (int i = has_bias ? 3 : 2; i < conv->operand_count(); ++i) operands.push_back(conv->operand(i));
  Attributes attributes = conv->attributes();
  Strings entries = epilogue;
  if (!has_bias) entries.insert(entries.begin(), "bias");
  attributes.set("epilogue", entries);
  const Value folded = build("conv", operands, attributes);
  graph.replace_uses(conv->result(), folded);
  context.applied(*folded.node, pattern);
  graph.erase(conv);
  graph.erase(bn);
  return true;
}

}  // namespace

bool fold_batch_norm(Graph& graph, PassContext& context) {
  bool changed = false;
  for (Node* node : graph.node_list()) {
    if (node->is("batch_norm")) changed |= fold_behind(graph, node, context);
  }
  for (Node* node : graph.node_list()) changed |= fold_before(graph, node, context);
  return changed;
}

// lower-batch-norm: what could not be folded becomes one scale and one shift per channel, both
// computed when weights are bound, so that the elementwise fusion sees two scalar functions.
//   before   %1 = batch_norm(%x, ...)
//   after    %1 = mul(%x, s)   %2 = add(%1, t)

bool lower_batch_norm(Graph& graph, PassContext& context) {
  bool changed = false;
  for (Node* node : graph.node_list()) {
    if (!node->is("batch_norm")) continue;
    if (!has_prepared_operands(*node, 1)) {
      context.missed(*node, "scale and shift", kNotPrepared);
      continue;
    }
    Builder build(graph, node, node->provenance());
    const ScaleShift st = scale_and_shift(build, *node);
    Ints shape(static_cast<std::size_t>(node->operand(0).type().rank()) - 1, 1);
    shape[0] = -1;
    const auto broadcastable = [&](Value v) {  // [C] fits [N, C] as it is
      return shape.size() == 1 ? v : build("reshape", {v}, {{"shape", shape}});
    };
    const Value scaled = build("mul", {node->operand(0), broadcastable(st.scale)});
    graph.replace_uses(node->result(), build("add", {scaled, broadcastable(st.shift)}));
    context.applied(*node, "scale and shift");
    graph.erase(node);
    changed = true;
  }
  return changed;
}

}  // namespace facet
