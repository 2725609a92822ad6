#include "ir/ops/families.h"
#include "ir/ops/gradients.h"
#include "ir/padding.h"

// Gradients of ops that move, repeat, reduce or pool elements: each is the adjoint of its op.

namespace facet::ops {
namespace {

/// The shape of reduction `node` as if it kept its dims.
Shape kept_shape(const Node& node) {
  Shape shape = node.operand(0).shape();
  for (const std::int64_t axis : node.attributes().ints("axes")) {
    shape[static_cast<std::size_t>(normalize_axis(axis, static_cast<std::int64_t>(shape.size())))] =
        1;
  }
  return shape;
}

/// The reduction's cotangent spread over its operand.
Value spread(Builder& build, const Node& node, Value dy) {
  return expand_to(build, reshape_to(build, dy, kept_shape(node)), node.operand(0).shape());
}

Value slice_of(Builder& build, Value x, std::int64_t axis, std::int64_t start,
               std::int64_t extent) {
  return build("slice", {x}, {{"axis", axis}, {"start", start}, {"end", start + extent}});
}

std::int64_t axis_of(const Node& node) {
  return normalize_axis(node.attributes().integer("axis"), node.operand(0).type().rank());
}

std::int64_t extent_of(Value value, std::int64_t axis) {
  return value.shape()[static_cast<std::size_t>(axis)].factor;
}

}  // namespace

Values reduce_sum_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {spread(build, node, cotangents[0])};
}

Values reduce_mean_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const double count = operand_elements(node) / result_elements(node);
  return {spread(build, node, build("div", {cotangents[0], build.scalar(count)}))};
}

Values reduce_max_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("reduce_max_bwd", {cotangents[0], node.operand(0)}, node.attributes())};
}

Values softmax_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("softmax_bwd", {cotangents[0], node.result()}, node.attributes())};
}

Values max_pool_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("max_pool_bwd", {cotangents[0], node.operand(0)}, node.attributes())};
}

Values avg_pool_gradient(Builder& build, Node& node, Cotangents cotangents) {
  Attributes attributes = node.attributes();
  attributes.set("height", node.operand(0).shape()[2].factor);
  attributes.set("width", node.operand(0).shape()[3].factor);
  return {build("avg_pool_bwd", {cotangents[0]}, std::move(attributes))};
}

Values reshape_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {reshape_to(build, cotangents[0], node.operand(0).shape())};
}

Values transpose_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Ints& permutation = node.attributes().ints("permutation");
  Ints inverse(permutation.size());
  for (std::size_t i = 0; i < permutation.size(); ++i) {
    inverse[static_cast<std::size_t>(permutation[i])] = static_cast<std::int64_t>(i);
  }
  return {build("transpose", {cotangents[0]}, {{"permutation", std::move(inverse)}})};
}

Values concat_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const std::int64_t axis = axis_of(node);
  Values result;
  std::int64_t start = 0;
  for (const Value operand : node.operands()) {
    const std::int64_t extent = extent_of(operand, axis);
    result.push_back(takes_cotangent(operand) ? slice_of(build, cotangents[0], axis, start, extent)
                                              : Value{});
    start += extent;
  }
  return result;
}

Values slice_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const std::int64_t axis = axis_of(node);
  const std::int64_t after = extent_of(node.operand(0), axis) - node.attributes().integer("end");
  return {
      build("pad", {cotangents[0]},
            {{"axis", axis}, {"before", node.attributes().integer("start")}, {"after", after}})};
}

Values pad_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const std::int64_t axis = axis_of(node);
  const std::int64_t extent = extent_of(node.operand(0), axis);
  const Attributes& a = node.attributes();
  Value sum;
  for (const PadRun& run :
       pad_runs(parse_pad_mode(a.text("mode")), extent, a.integer("before"), a.integer("after"))) {
    if (run.from < 0 || run.count == 0) continue;
    // What the stretch was read from gets its cotangent, in the order of x.
    Value part = slice_of(build, cotangents[0], axis, run.to, run.count);
    std::int64_t first = run.from;
    if (run.step < 0) {
      part = build("reverse", {part}, {{"axis", axis}});
      first -= run.count - 1;
    } else if (run.step == 0) {
      part = build("reduce_sum", {part}, {{"axes", Ints{axis}}});
    }
    const std::int64_t after = extent - first - extent_of(part, axis);
    if (first > 0 || after > 0) {
      part = build("pad", {part}, {{"axis", axis}, {"before", first}, {"after", after}});
    }
    sum = sum ? build("add", {sum, part}) : part;
  }
  return {sum};
}

Values reverse_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("reverse", {cotangents[0]}, node.attributes())};
}

Values expand_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {sum_to(build, cotangents[0], node.operand(0))};
}

Values skew_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("unskew", {cotangents[0]}, node.attributes())};
}

Values unskew_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("skew", {cotangents[0]}, node.attributes())};
}

}  // namespace facet::ops
