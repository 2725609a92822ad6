#include <numbers>

#include "ir/ops/gradients.h"

// Gradients of scalar functions. A broadcast operand's cotangent is summed over the repeated axes.
// Scalars that are not small dyadic numbers are divisors, not their rounded reciprocals.

namespace facet::ops {
namespace {

/// dy where a > b, else `otherwise` (null: 0).
Value where_greater(Builder& build, Value a, Value b, Value dy, Value otherwise = {}) {
  return build("where", {build("greater", {a, b}), dy, otherwise ? otherwise : build.scalar(0)});
}

/// Cotangents of a binary op's operands, each made only where one is read.
template <class First, class Second>
Values both(Builder& build, Node& node, First first, Second second) {
  const Value a = node.operand(0), b = node.operand(1);
  Values result(2);
  if (takes_cotangent(a)) result[0] = sum_to(build, first(a, b), a);
  if (takes_cotangent(b)) result[1] = sum_to(build, second(a, b), b);
  return result;
}

/// The larger takes all; equal ones half each, as PyTorch has it.
Values extremum_gradient(Builder& build, Node& node, Value dy, bool largest) {
  const auto share = [&](Value mine, Value other) {
    const Value high = largest ? mine : other, low = largest ? other : mine;
    const Value half = build("mul", {dy, build.scalar(0.5)});
    return where_greater(build, high, low, dy,
                         where_greater(build, low, high, build.scalar(0), half));
  };
  return both(
      build, node, [&](Value a, Value b) { return share(a, b); },
      [&](Value a, Value b) { return share(b, a); });
}

}  // namespace

Values relu_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {where_greater(build, node.result(), build.scalar(0), cotangents[0])};
}

Values sigmoid_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value y = node.result();
  const Value slope = build("mul", {y, build("sub", {build.scalar(1), y})});
  return {build("mul", {cotangents[0], slope})};
}

Values tanh_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value slope = build("sub", {build.scalar(1), build("square", {node.result()})});
  return {build("mul", {cotangents[0], slope})};
}

Values exp_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("mul", {cotangents[0], node.result()})};
}

Values log_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("div", {cotangents[0], node.operand(0)})};
}

Values sqrt_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value half = build("mul", {cotangents[0], build.scalar(0.5)});
  return {build("div", {half, node.result()})};
}

Values rsqrt_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value y = node.result();
  const Value half = build("mul", {cotangents[0], build.scalar(-0.5)});
  return {build("mul", {half, build("mul", {y, build("square", {y})})})};
}

Values reciprocal_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("neg", {build("mul", {cotangents[0], build("square", {node.result()})})})};
}

Values neg_gradient(Builder& build, Node&, Cotangents cotangents) {
  return {build("neg", {cotangents[0]})};
}

Values abs_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value x = node.operand(0), dy = cotangents[0];
  const Value negative = where_greater(build, build.scalar(0), x, build("neg", {dy}));
  return {where_greater(build, x, build.scalar(0), dy, negative)};
}

Values square_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value twice = build("mul", {node.operand(0), build.scalar(2)});
  return {build("mul", {cotangents[0], twice})};
}

Values erf_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value bell = build("exp", {build("neg", {build("square", {node.operand(0)})})});
  const Value slope = build("mul", {bell, build.scalar(2 * std::numbers::inv_sqrtpi)});
  return {build("mul", {cotangents[0], slope})};
}

Values add_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const auto pass = [&](Value, Value) { return cotangents[0]; };
  return both(build, node, pass, pass);
}

Values sub_gradient(Builder& build, Node& node, Cotangents cotangents) {
  Values result(2);
  const Value a = node.operand(0), b = node.operand(1);
  if (takes_cotangent(a)) result[0] = sum_to(build, cotangents[0], a);
  // The sum comes first: it is the smaller of the two to negate.
  if (takes_cotangent(b)) result[1] = build("neg", {sum_to(build, cotangents[0], b)});
  return result;
}

Values mul_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return both(
      build, node,
      [&](Value, Value b) {
        return build("mul", {cotangents[0], b});
      },
      [&](Value a, Value) {
        return build("mul", {cotangents[0], a});
      });
}

Values div_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return both(
      build, node,
      [&](Value, Value b) {
        return build("div", {cotangents[0], b});
      },
      [&](Value, Value b) {
        const Value quotient = build("div", {cotangents[0], b});
        return build("neg", {build("mul", {quotient, node.result()})});
      });
}

Values maximum_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return extremum_gradient(build, node, cotangents[0], true);
}

Values minimum_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return extremum_gradient(build, node, cotangents[0], false);
}

/// The condition of each `where` is the number whose zero would make the formula 0 * infinity.
Values pow_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return both(
      build, node,
      [&](Value a, Value b) {
        const Value power = build("pow", {a, build("sub", {b, build.scalar(1)})});
        const Value slope = build("where", {b, build("mul", {b, power}), build.scalar(0)});
        return build("mul", {cotangents[0], slope});
      },
      [&](Value a, Value) {
        const Value slope = build("mul", {node.result(), build("log", {a})});
        return build("mul", {cotangents[0], build("where", {a, slope, build.scalar(0)})});
      });
}

Values where_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value condition = node.operand(0), a = node.operand(1), b = node.operand(2);
  const Value dy = cotangents[0], zero = build.scalar(0);
  Values result(3);
  if (takes_cotangent(a)) result[1] = sum_to(build, build("where", {condition, dy, zero}), a);
  if (takes_cotangent(b)) result[2] = sum_to(build, build("where", {condition, zero, dy}), b);
  return result;
}

/// The bounds themselves pass, as in PyTorch.
Values clamp_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value x = node.operand(0), zero = build.scalar(0);
  const Value least = build.scalar(node.attributes().number("min"));
  const Value most = build.scalar(node.attributes().number("max"));
  const Value not_below = where_greater(build, least, x, zero, cotangents[0]);
  return {where_greater(build, x, most, zero, not_below)};
}

Values prelu_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value slope = node.operand(1);
  Node* both = build.node("prelu_bwd", {cotangents[0], node.operand(0), slope});
  return {both->result(0), cast_like(build, both->result(1), slope)};
}

Values cast_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value x = node.operand(0);
  if (!takes_cotangent(x)) return {Value{}};
  return {cast_like(build, cotangents[0], x)};
}

}  // namespace facet::ops
