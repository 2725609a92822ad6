#include "ir/ops/gradients_indexing.h"

#include <fmt/format.h>

#include <numeric>

#include "ir/error.h"
#include "ir/ops/families.h"

// Gradients of ops that read and write by index. What is read at an index gets its cotangent added
// there; what is written at an index reads the cotangent there. Shapes are static, as in all rules.
// Sampling between elements has backward ops of its own.

namespace facet::ops {
namespace {

std::size_t axis_of(const Node& node) {
  return static_cast<std::size_t>(
      normalize_axis(node.attributes().integer("axis"), node.operand(0).type().rank()));
}

std::int64_t extent_of(Value value, std::size_t axis) { return value.shape()[axis].factor; }

/// `number` in the shape and dtype of `like`.
Value filled_like(Builder& build, Value like, double number) {
  const std::vector<std::int64_t> ones(like.shape().size(), 1);
  const HostTensor value = HostTensor::scalar(like.dtype(), number).reshaped(ones);
  return expand_to(build, build("constant", {}, {{"value", value}}), like.shape());
}

/// 1 where a <= b, else 0.
Value at_most(Builder& build, Value a, Value b) {
  return build("sub", {build.scalar(1, a.dtype()), build("greater", {a, b})});
}

/// How the scatter and the gather of one family are built with the node's own indices.
struct Access {
  Builder& build;
  Node& node;
  std::string_view scatter, gather;
  Attributes scatter_attributes, gather_attributes;

  Value read(Value x) const { return build(gather, {x, node.operand(1)}, gather_attributes); }
  Value write(Value x, Value updates, std::string_view reduction) const {
    Attributes attributes = scatter_attributes;
    attributes.set("reduction", std::string(reduction));
    return build(scatter, {x, node.operand(1), updates}, std::move(attributes));
  }
};

/// y = x with the updates written ("none"), added, multiplied, or kept where they are larger
/// ("max") or smaller ("min").
Values scatter_gradient(const Access& access, Cotangents cotangents) {
  Builder& build = access.build;
  Node& node = access.node;
  const Value dy = cotangents[0], x = node.operand(0), updates = node.operand(2);
  const std::string& reduction = node.attributes().text("reduction");
  if (reduction == "none") {
    return {access.write(dy, filled_like(build, updates, 0), "none"), Value{}, access.read(dy)};
  }
  if (reduction == "add") return {dy, Value{}, access.read(dy)};
  if (reduction == "mul") {
    const Value factors = access.write(filled_like(build, x, 1), updates, "mul");
    const Value all = access.read(build("mul", {dy, node.result()}));
    return {build("mul", {dy, factors}), Value{}, build("div", {all, updates})};
  }
  // Those that equal the result share its cotangent.
  const bool largest = reduction == "max";
  const Value y = node.result();
  const Value there = access.read(y);
  const Value x_wins = largest ? at_most(build, y, x) : at_most(build, x, y);
  const Value u_wins = largest ? at_most(build, there, updates) : at_most(build, updates, there);
  // Where nothing was written, x is the one winner.
  const Value share = build("div", {dy, access.write(x_wins, u_wins, "add")});
  return {build("mul", {share, x_wins}), Value{}, build("mul", {access.read(share), u_wins})};
}

/// The indices of a gather_nd over `batch_dims` leading axes with the places along those axes in
/// front, so that they index all of x.
Value with_batch_places(Builder& build, Value indices, std::int64_t batch_dims) {
  if (batch_dims == 0) return indices;
  std::vector<Value> parts;
  Shape shape = indices.shape();
  shape.back() = 1;
  for (std::int64_t axis = 0; axis < batch_dims; ++axis) {
    const std::int64_t extent = extent_of(indices, static_cast<std::size_t>(axis));
    std::vector<std::int64_t> along(shape.size(), 1);
    along[static_cast<std::size_t>(axis)] = extent;
    HostTensor places(DType::i64, along);
    std::iota(places.as_mutable<std::int64_t>(), places.as_mutable<std::int64_t>() + extent, 0);
    const Value constant = build("constant", {}, {{"value", places.cast(indices.dtype())}});
    parts.push_back(expand_to(build, constant, shape));
  }
  parts.push_back(indices);
  return build("concat", std::move(parts), {{"axis", indices.type().rank() - 1}});
}

}  // namespace

Values gather_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const std::size_t axis = axis_of(node);
  return {build("scatter_add", {cotangents[0], node.operand(1)},
                {{"axis", static_cast<std::int64_t>(axis)},
                 {"extent", extent_of(node.operand(0), axis)}}),
          Value{}};
}

Values scatter_add_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("gather", {cotangents[0], node.operand(1)},
                {{"axis", node.attributes().integer("axis")}}),
          Value{}};
}

Values gather_elements_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("scatter_elements",
                {filled_like(build, node.operand(0), 0), node.operand(1), cotangents[0]},
                {{"axis", node.attributes().integer("axis")}, {"reduction", std::string("add")}}),
          Value{}};
}

Values gather_nd_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Value indices =
      with_batch_places(build, node.operand(1), node.attributes().integer("batch_dims"));
  return {build("scatter_nd", {filled_like(build, node.operand(0), 0), indices, cotangents[0]},
                {{"reduction", std::string("add")}}),
          Value{}};
}

Values scatter_elements_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const Attributes axis{{"axis", node.attributes().integer("axis")}};
  return scatter_gradient({build, node, "scatter_elements", "gather_elements", axis, axis},
                          cotangents);
}

Values scatter_nd_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return scatter_gradient({build, node, "scatter_nd", "gather_nd", {}, {}}, cotangents);
}

Values top_k_gradient(Builder& build, Node& node, Cotangents cotangents) {
  if (!cotangents[0]) return {Value{}};
  return {build("scatter_elements",
                {filled_like(build, node.operand(0), 0), node.result(1), cotangents[0]},
                {{"axis", node.attributes().integer("axis")}, {"reduction", std::string("add")}})};
}

/// Reversing twice is the identity.
Values reverse_sequence_gradient(Builder& build, Node& node, Cotangents cotangents) {
  return {build("reverse_sequence", {cotangents[0], node.operand(1)}, node.attributes()), Value{}};
}

/// Each element of dy with step - 1 zeros behind it, at the place of the first one.
Values strided_slice_gradient(Builder& build, Node& node, Cotangents cotangents) {
  const std::size_t axis = axis_of(node);
  const auto along = static_cast<std::int64_t>(axis);
  const std::int64_t extent = extent_of(node.operand(0), axis);
  const std::int64_t count = node.attributes().integer("count");
  std::int64_t start = node.attributes().integer("start");
  std::int64_t step = node.attributes().integer("step");
  Value dx = cotangents[0];
  if (step < 0) {
    start += (count - 1) * step;
    step = -step;
    dx = build("reverse", {dx}, {{"axis", along}});
  }
  Shape shape = dx.shape();
  if (step > 1) {
    shape.insert(shape.begin() + along + 1, 1);
    dx = build("pad", {reshape_to(build, dx, shape)}, {{"axis", along + 1}, {"after", step - 1}});
    shape.erase(shape.begin() + along + 1);
    shape[axis] = count * step;
    dx = reshape_to(build, dx, shape);
  }
  const std::int64_t excess = start + count * step - extent;
  if (excess > 0) {
    dx = build("slice", {dx},
               {{"axis", along}, {"start", std::int64_t{0}}, {"end", count * step - excess}});
  }
  const std::int64_t after = excess < 0 ? -excess : 0;
  if (start == 0 && after == 0) return {dx};
  return {build("pad", {dx}, {{"axis", along}, {"before", start}, {"after", after}})};
}

Values grid_sample_gradient(Builder& build, Node& node, Cotangents cotangents) {
  Node* both = build.node("grid_sample_bwd", {cotangents[0], node.operand(0), node.operand(1)},
                          node.attributes());
  return {both->result(0), both->result(1)};
}

Values roi_align_gradient(Builder& build, Node& node, Cotangents cotangents) {
  Node* both = build.node("roi_align_bwd",
                          {cotangents[0], node.operand(0), node.operand(1), node.operand(2)},
                          node.attributes());
  return {both->result(0), both->result(1), Value{}};
}

Values decompose_scatter_add(Builder& build, Node& node) {
  const Value x = node.operand(0), indices = node.operand(1);
  const Type& result = node.result_types()[0];
  if (!is_static(x.shape()) || !is_static(indices.shape())) {
    throw usage_error(
        fmt::format("scatter_add of {} needs a fixed shape to be decomposed", to_string(x.type())));
  }
  const auto axis = node.attributes().integer("axis");
  const std::int64_t count = element_count(indices.shape()).factor;
  Shape flat = result.shape;  // one axis for all indices
  flat[static_cast<std::size_t>(axis)] = count;
  Ints to_front{axis}, to_place;
  for (std::int64_t i = 0; i < result.rank(); ++i) {
    if (i != axis) to_front.push_back(i);
    to_place.push_back(i < axis ? i + 1 : i == axis ? 0 : i);
  }
  const Value slices =
      build("transpose", {reshape_to(build, x, flat)}, {{"permutation", to_front}});
  std::vector<std::int64_t> shape = static_extents(slices.shape());
  shape[0] = node.attributes().integer("extent");
  const HostTensor zero(x.dtype(), std::vector<std::int64_t>(shape.size(), 1));
  const Value zeros =
      build("expand", {build("constant", {}, {{"value", zero}})}, {{"shape", Ints(shape)}});
  const Value sums =
      build("scatter_nd", {zeros, reshape_to(build, indices, Shape{count, 1}), slices},
            {{"reduction", std::string("add")}});
  return {build("transpose", {sums}, {{"permutation", to_place}})};
}

}  // namespace facet::ops
