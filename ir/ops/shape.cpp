#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"
#include "ir/padding.h"

namespace facet::ops {
namespace {

std::vector<Type> infer_reshape(const InferContext& context) {
  const Type& x = context.operand(0);
  const Ints& wanted = context.attributes.ints("shape");
  Type result{x.dtype, {}, {}};
  std::int64_t inferred = -1;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == 0 && i >= x.shape.size()) {
      throw usage_error("reshape copies an extent that the operand does not have");
    }
    if (wanted[i] < -1 || (wanted[i] == -1 && inferred >= 0)) {
      throw usage_error("reshape takes extents, 0 to copy, and at most one -1");
    }
    if (wanted[i] == -1) inferred = static_cast<std::int64_t>(i);
    result.shape.push_back(wanted[i] == 0 ? x.shape[i] : Dim(std::max<std::int64_t>(wanted[i], 1)));
  }
  const Dim have = element_count(x.shape);
  const Dim given = element_count(result.shape);
  const auto mismatch = [&] {
    return usage_error(fmt::format("cannot reshape {} to {}", to_string(x), to_string(result.shape)));
  };
  if (inferred < 0) {
    if (!(have == given)) throw mismatch();
    return {result};
  }
  if (given.factor == 0 || have.factor % given.factor != 0) throw mismatch();
  Dim& open = result.shape[static_cast<std::size_t>(inferred)];
  open = Dim(have.factor / given.factor);
  if (have.symbol != given.symbol) {
    if (!given.is_static()) throw mismatch();
    open.symbol = have.symbol;
  }
  return {result};
}

std::vector<Type> infer_transpose(const InferContext& context) {
  const Type& x = context.operand(0);
  const Ints& permutation = context.attributes.ints("permutation");
  Ints axes(x.shape.size());
  std::iota(axes.begin(), axes.end(), std::int64_t{0});
  // All of it is checked before any entry is used as an index.
  if (!std::is_permutation(axes.begin(), axes.end(), permutation.begin(), permutation.end())) {
    throw usage_error("transpose takes a permutation of the axes of " + to_string(x));
  }
  Type result{x.dtype, {}, {}};
  for (const std::int64_t axis : permutation) {
    result.shape.push_back(x.shape[static_cast<std::size_t>(axis)]);
  }
  return {result};
}

std::vector<Type> infer_concat(const InferContext& context) {
  Type result = context.operand(0);
  const auto axis =
      static_cast<std::size_t>(normalize_axis(context.attributes.integer("axis"), result.rank()));
  for (std::size_t i = 1; i < context.operands.size(); ++i) {
    const Type& type = context.operand(i);
    bool fits = type.dtype == result.dtype && type.rank() == result.rank();
    for (std::size_t d = 0; fits && d < type.shape.size(); ++d) {
      fits = d == axis || type.shape[d] == result.shape[d];
    }
    if (!fits || !type.shape[axis].is_static() || !result.shape[axis].is_static()) {
      throw usage_error(fmt::format("cannot concatenate {} and {} along axis {}",
                                    to_string(context.operand(0)), to_string(type), axis));
    }
    std::int64_t& extent = result.shape[axis].factor;
    if (__builtin_add_overflow(extent, type.shape[axis].factor, &extent)) {
      throw usage_error("the extent of a concatenation overflows");
    }
  }
  return {result};
}

std::vector<Type> infer_slice(const InferContext& context) {
  Type result = context.operand(0);
  const auto axis =
      static_cast<std::size_t>(normalize_axis(context.attributes.integer("axis"), result.rank()));
  const std::int64_t start = context.attributes.integer("start");
  const std::int64_t end = context.attributes.integer("end");
  Dim& extent = result.shape[axis];
  if (!extent.is_static() || start < 0 || end <= start || end > extent.factor) {
    throw usage_error(fmt::format("slice [{}, {}) does not lie in axis {} of {}", start, end, axis,
                                  to_string(context.operand(0))));
  }
  extent = Dim(end - start);
  return {result};
}

std::vector<Type> infer_pad(const InferContext& context) {
  Type result = context.operand(0);
  const auto axis =
      static_cast<std::size_t>(normalize_axis(context.attributes.integer("axis"), result.rank()));
  const std::int64_t before = context.attributes.integer("before");
  const std::int64_t after = context.attributes.integer("after");
  Dim& extent = result.shape[axis];
  require_extent("padding", before, 0);
  require_extent("padding", after, 0);
  if (!extent.is_static()) {
    throw usage_error(fmt::format("pad takes an axis of fixed extent, not axis {} of {}", axis,
                                  to_string(context.operand(0))));
  }
  require_extent("extent of the padded axis", extent.factor,
                 parse_pad_mode(context.attributes.text("mode")) == PadMode::constant ? 0 : 1);
  extent.factor += before + after;
  return {result};
}

std::vector<Type> infer_reverse(const InferContext& context) {
  normalize_axis(context.attributes.integer("axis"), context.operand(0).rank());
  return {context.operand(0)};
}

std::vector<Type> infer_reorder(const InferContext& context) {
  Type result = context.operand(0);
  result.layout = context.attributes.text("layout");
  return {result};
}

double one_per_element(const Node& node) { return result_elements(node); }

std::vector<Sample> reshape_samples() {
  return {{{f32({2, 6, 4})}, {{"shape", Ints{0, -1}}}},
          {{f32({2, 6, 4})}, {{"shape", Ints{4, 3, 2, 2}}}},
          {{f32({12})}, {{"shape", Ints{1, -1, 1, 1}}}}};
}
std::vector<Sample> transpose_samples() {
  return {{{f32({2, 5, 4})}, {{"permutation", Ints{0, 2, 1}}}},
          {{f32({2, 16, 5, 3})}, {{"permutation", Ints{0, 2, 3, 1}}}},
          {{f32({3, 4, 2, 5})}, {{"permutation", Ints{3, 1, 0, 2}}}}};
}
std::vector<Sample> concat_samples() {
  return {{{f32({2, 3, 5, 4}), f32({2, 6, 5, 4})}, {{"axis", std::int64_t{1}}}},
          {{f32({2, 16, 5, 4}), f32({2, 8, 5, 4}), f32({2, 16, 5, 4})}, {{"axis", std::int64_t{1}}}},
          {{f32({2, 3}), f32({4, 3})}, {{"axis", std::int64_t{0}}}},
          {{f32({2, 3, 2}), f32({2, 3, 5})}, {{"axis", std::int64_t{-1}}}}};
}
std::vector<Sample> slice_samples() {
  return {{{f32({2, 16, 5, 4})},
           {{"axis", std::int64_t{1}}, {"start", std::int64_t{3}}, {"end", std::int64_t{11}}}},
          {{f32({5, 3})},
           {{"axis", std::int64_t{0}}, {"start", std::int64_t{1}}, {"end", std::int64_t{4}}}}};
}
Attributes padding(std::int64_t axis, std::int64_t before, std::int64_t after, const char* mode) {
  return {{"axis", axis}, {"before", before}, {"after", after}, {"mode", std::string(mode)}};
}
std::vector<Sample> pad_samples() {
  return {{{f32({2, 16, 5, 4})},
           {{"axis", std::int64_t{1}}, {"before", std::int64_t{3}}, {"after", std::int64_t{5}}}},
          {{f32({5, 3})},
           {{"axis", std::int64_t{-1}}, {"before", std::int64_t{0}}, {"after", std::int64_t{2}}}},
          {{f32({2, 3, 4})}, {{"axis", std::int64_t{0}}, {"before", std::int64_t{1}}}},
          {{f32({2, 3, 4})},
           {{"axis", std::int64_t{1}}, {"after", std::int64_t{2}}, {"value", -1.5}}},
          {{f32({2, 4, 5, 6})}, padding(2, 3, 2, "edge")},
          {{f32({2, 4, 5, 6})}, padding(3, 5, 4, "reflect")},
          {{f32({2, 3})}, padding(1, 7, 2, "reflect")},
          {{f32({2, 3, 4})}, padding(0, 5, 1, "wrap")}};
}
std::vector<Sample> reverse_samples() {
  return {{{f32({2, 7})}, {{"axis", std::int64_t{-1}}}},
          {{f32({2, 16, 5, 3})}, {{"axis", std::int64_t{1}}}},
          {{f32({4, 2, 3})}, {{"axis", std::int64_t{0}}}}};
}
std::vector<Sample> reorder_samples() {
  return {{{f32({2, 5, 4, 3})}, {{"layout", std::string("acdb")}}},
          {{f32({2, 16, 4, 3})}, {{"layout", std::string("aBcd16b")}}}};
}

OpDef shape_op(std::string_view name, std::string_view doc, Signature signature,
               std::vector<AttributeSpec> attributes,
               std::vector<Type> (*infer)(const InferContext&), Gradient gradient,
               LayoutRole layout, Aliasing aliasing, OnnxMapping onnx, Samples::Make samples) {
  return OpDef{.name = name,
               .doc = doc,
               .signature = std::move(signature),
               .attributes = std::move(attributes),
               .infer = infer,
               .gradient = gradient,
               .layout = layout,
               .aliasing = aliasing,
               .precision = PrecisionPolicy::follow,
               .decomposition = Decomposition::primitive(),
               .cost = aliasing == Aliasing::view ? Cost::free() : Cost::memory(one_per_element),
               .onnx = onnx,
               .samples = Samples::cases(samples)};
}

}  // namespace

std::vector<OpDef> shape_ops() {
  std::vector<OpDef> list;
  list.push_back(shape_op("reshape",
                          "The same elements in row-major order; 0 copies an extent, one "
                          "-1 is inferred.",
                          Signature({"x"}, {"y"}), {{"shape", Ints{}, true}}, infer_reshape,
                          Gradient::rule(reshape_gradient), LayoutRole::plain, Aliasing::view,
                          OnnxMapping::op("Reshape", 5), reshape_samples));
  list.push_back(shape_op("transpose", "Axis i of y is axis permutation[i] of x.",
                          Signature({"x"}, {"y"}), {{"permutation", Ints{}, true}}, infer_transpose,
                          Gradient::rule(transpose_gradient), LayoutRole::plain, Aliasing::fresh,
                          OnnxMapping::op("Transpose", 1), transpose_samples));
  list.push_back(shape_op("concat", "Operands side by side along one axis.",
                          Signature({"x", "others..."}, {"y"}), {{"axis", std::int64_t{1}, true}},
                          infer_concat, Gradient::rule(concat_gradient), LayoutRole::axis_aware,
                          Aliasing::fresh, OnnxMapping::op("Concat", 4), concat_samples));
  list.push_back(shape_op("slice", "Elements start..end-1 along one axis.", Signature({"x"}, {"y"}),
                          {{"axis", std::int64_t{0}, true},
                           {"start", std::int64_t{0}, true},
                           {"end", std::int64_t{0}, true}},
                          infer_slice, Gradient::rule(slice_gradient), LayoutRole::axis_aware,
                          Aliasing::fresh, OnnxMapping::op("Slice", 10), slice_samples));
  list.push_back(shape_op(
      "pad",
      "x along one axis with `before` elements ahead of it and `after` behind it: `value`, or what "
      "mode edge, reflect or wrap takes from x.",
      Signature({"x"}, {"y"}),
      {{"axis", std::int64_t{0}, true},
       {"before", std::int64_t{0}},
       {"after", std::int64_t{0}},
       {"mode", std::string("constant")},
       {"value", 0.0}},
      infer_pad, Gradient::rule(pad_gradient), LayoutRole::axis_aware, Aliasing::fresh,
      OnnxMapping::op("Pad", 11), pad_samples));
  list.push_back(shape_op("reverse", "x with one axis in the opposite order.",
                          Signature({"x"}, {"y"}), {{"axis", std::int64_t{0}, true}}, infer_reverse,
                          Gradient::rule(reverse_gradient), LayoutRole::axis_aware, Aliasing::fresh,
                          OnnxMapping::op("Slice", 10), reverse_samples));
  list.push_back(shape_op("reorder", "The same value in another memory layout.",
                          Signature({"x"}, {"y"}), {{"layout", std::string(), true}}, infer_reorder,
                          Gradient::none("layouts exist only after lowering"), LayoutRole::plain,
                          Aliasing::fresh, OnnxMapping::none("layouts exist only after lowering"),
                          reorder_samples));
  return list;
}

}  // namespace facet::ops
