#include "ir/ops/gradients_math.h"

// Gradients of trigonometric and hyperbolic functions, of remainders, and of ops along lines.

namespace facet::ops {
namespace {

/// dy / sqrt(x^2 * sign + offset): the slope of every inverse of sine and its kin.
Value over_root(Builder& build, Value dy, Value x, double sign, double offset) {
  const Value square = build("square", {x});
  const Value inside = sign > 0 ? build("add", {square, build.scalar(offset)})
                                : build("sub", {build.scalar(offset), square});
  return build("mul", {dy, build("rsqrt", {inside})});
}

Value negated(Builder& build, Value x) { return build("neg", {x}); }

}  // namespace

Values sin_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("mul", {cotangents[0], build("cos", {node.operand(0)})})};
}

Values cos_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {negated(build, build("mul", {cotangents[0], build("sin", {node.operand(0)})}))};
}

Values tan_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value slope = build("add", {build("square", {node.result()}), build.scalar(1)});
  return {build("mul", {cotangents[0], slope})};
}

Values asin_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {over_root(build, cotangents[0], node.operand(0), -1, 1)};
}

Values acos_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {negated(build, over_root(build, cotangents[0], node.operand(0), -1, 1))};
}

Values atan_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value square = build("square", {node.operand(0)});
  return {build("div", {cotangents[0], build("add", {square, build.scalar(1)})})};
}

Values sinh_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("mul", {cotangents[0], build("cosh", {node.operand(0)})})};
}

Values cosh_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("mul", {cotangents[0], build("sinh", {node.operand(0)})})};
}

Values asinh_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {over_root(build, cotangents[0], node.operand(0), 1, 1)};
}

Values acosh_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {over_root(build, cotangents[0], node.operand(0), 1, -1)};
}

Values atanh_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value square = build("square", {node.operand(0)});
  return {build("div", {cotangents[0], build("sub", {build.scalar(1), square})})};
}

/// y = a - q b with a whole number q, which is constant where y is continuous.
Values mod_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value a = node.operand(0), b = node.operand(1), dy = cotangents[0];
  Values result(2);
  if (takes_cotangent(a)) result[0] = sum_to(build, dy, a);
  if (takes_cotangent(b)) {
    const Value quotient = build("div", {build("sub", {node.result(), a}), b});
    result[1] = sum_to(build, build("mul", {dy, quotient}), b);
  }
  return result;
}

/// The first smallest element of x is the first largest of -x.
Values reduce_min_gradient(Builder& build, Node& node, Cotangents cotangents) {
  if (!takes_cotangent(node.operand(0))) return {Value{}};
  return {
      build("reduce_max_bwd", {cotangents[0], negated(build, node.operand(0))}, node.attributes())};
}

Values reduce_prod_gradient(Builder& build, Node& node, Cotangents cotangents) {
  if (!takes_cotangent(node.operand(0))) return {Value{}};
  return {build("reduce_prod_bwd", {cotangents[0], node.operand(0)}, node.attributes())};
}

/// dx = dy - softmax(x) * sum(dy), and softmax(x) = exp(y).
Values log_softmax_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value sum =
      build("reduce_sum", {cotangents[0]}, {{"axes", Ints{node.attributes().integer("axis")}}});
  const Value share = build("mul", {build("exp", {node.result()}), sum});
  return {build("sub", {cotangents[0], share})};
}

/// What element i is added to, element i's cotangent is the sum of.
Values cum_sum_gradient(Builder& build, Node& node, Cotangents cotangents) {
  Attributes attributes = node.attributes();
  attributes.set("reverse", !attributes.boolean("reverse"));
  return {build("cum_sum", {cotangents[0]}, std::move(attributes))};
}

Values triangle_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("triangle", {cotangents[0]}, node.attributes())};
}

}  // namespace facet::ops
