#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "runtime/formats/onnx/axis_ops.h"
#include "runtime/formats/onnx/node_reader.h"
#include "runtime/formats/onnx/shape_arithmetic.h"

// Operators that move elements about: shapes, axes, slices, constants.

namespace facet::onnx_import {
namespace {

/// Distinct axes of [0, rank), sorted. Throws Unsupported.
Ints normal_axes(const NodeReader& node, Ints axes, std::int64_t rank) {
  for (std::int64_t& axis : axes) {
    if (axis < -rank || axis >= rank) {
      node.unsupported(fmt::format("axis {} is outside a value of rank {}", axis, rank));
    }
    if (axis < 0) axis += rank;
  }
  std::ranges::sort(axes);
  if (std::ranges::adjacent_find(axes) != axes.end()) node.unsupported("an axis is named twice");
  return axes;
}

void import_reshape(NodeReader& node) {
  const Value x = node.input(0);
  Shape wanted;
  if (node.has("shape")) {
    for (const std::int64_t extent : node.ints("shape", {})) wanted.emplace_back(extent);
  } else {
    wanted = node.dims(1);
  }
  std::optional<std::size_t> open;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == Dim(0) && !node.flag("allowzero", false)) {
      if (i >= x.shape().size()) node.unsupported("shape copies an extent its input does not have");
      wanted[i] = x.shape()[i];
    }
    if (wanted[i] != Dim(-1)) continue;
    if (open) node.unsupported("shape has two -1");
    open = i;
    wanted[i] = Dim(1);
  }
  if (open) {
    const Dim have = element_count(x.shape());
    const Dim rest = element_count(wanted);
    const bool divides = rest.factor > 0 && have.factor % rest.factor == 0 &&
                         (rest.is_static() || rest.symbol == have.symbol);
    if (!divides)
      node.unsupported(fmt::format("{} does not fill {}", to_string(x.type()), to_string(wanted)));
    wanted[*open] = Dim(rest.is_static() ? have.symbol : std::string(), have.factor / rest.factor);
  }
  const bool is_empty =
      is_static(wanted) && element_count(wanted) == Dim(0) && element_count(x.shape()) == Dim(0);
  node.set(is_empty ? node.constant(HostTensor(x.dtype(), static_extents(wanted)))
                    : node.reshape(x, wanted));
}

void import_flatten(NodeReader& node) {
  const Value x = node.input(0);
  const std::int64_t rank = x.type().rank();
  std::int64_t axis = node.integer("axis", 1);
  if (axis < -rank || axis > rank) node.unsupported(fmt::format("axis {}", axis));
  if (axis < 0) axis += rank;
  const auto middle = x.shape().begin() + axis;
  node.set(node.reshape(x, {element_count(Shape(x.shape().begin(), middle)),
                            element_count(Shape(middle, x.shape().end()))}));
}

void import_transpose(NodeReader& node) {
  const Value x = node.input(0);
  Ints reversed(x.shape().size());
  std::iota(reversed.rbegin(), reversed.rend(), std::int64_t{0});
  node.set(node.transpose(x, node.ints("perm", reversed)));
}

void import_squeeze(NodeReader& node) {
  const Value x = node.input(0);
  std::optional<Ints> axes = node.integers("axes", 1);
  if (!axes) {
    axes.emplace();
    for (std::int64_t i = 0; i < x.type().rank(); ++i) {
      if (x.shape()[static_cast<std::size_t>(i)] == Dim(1)) axes->push_back(i);
    }
  }
  Shape shape = x.shape();
  const Ints sorted = normal_axes(node, *axes, x.type().rank());
  for (auto axis = sorted.rbegin(); axis != sorted.rend(); ++axis) {
    const auto at = shape.begin() + *axis;
    if (*at != Dim(1))
      node.unsupported(fmt::format("axis {} of {} is not 1", *axis, to_string(x.type())));
    shape.erase(at);
  }
  node.set(node.reshape(x, shape));
}

void import_unsqueeze(NodeReader& node) {
  const Value x = node.input(0);
  const Ints axes = node.integers("axes", 1).value_or(Ints{});
  Shape shape = x.shape();
  const std::int64_t rank = x.type().rank() + static_cast<std::int64_t>(axes.size());
  for (const std::int64_t axis : normal_axes(node, axes, rank))
    shape.insert(shape.begin() + axis, Dim(1));
  node.set(node.reshape(x, shape));
}

void import_concat(NodeReader& node) {
  std::vector<Value> parts = node.inputs();
  if (parts.empty()) node.unsupported("no inputs");
  const std::int64_t axis = node.axis("axis", 1, parts[0].type().rank());
  const auto is_empty = [&](Value part) {
    return part.shape()[static_cast<std::size_t>(axis)] == Dim(0);
  };
  if (parts.size() > 1 && !std::ranges::all_of(parts, is_empty)) std::erase_if(parts, is_empty);
  node.set(concat_axis(node, std::move(parts), axis));
}

/// `x` with nothing left of an axis: a constant without elements.
Value empty_along(NodeReader& node, Value x, std::int64_t axis) {
  std::vector<std::int64_t> extents = static_extents(x.shape());
  extents[static_cast<std::size_t>(axis)] = 0;
  return node.constant(HostTensor(x.dtype(), extents));
}

/// One axis of a Slice, as numpy slices.
Value slice_one(NodeReader& node, Value x, std::int64_t axis, std::int64_t start, std::int64_t end,
                std::int64_t step) {
  const Dim& dim = x.shape()[static_cast<std::size_t>(axis)];
  if (step == 0) node.unsupported("a step of 0");
  constexpr std::int64_t kFar = std::numeric_limits<std::int32_t>::max();
  if (!dim.is_static() && start == 0 && step == 1 && end >= kFar) return x;  // all of it
  const std::int64_t extent = fixed_extent(node, x, axis, "a slice");
  const auto bounded = [&](std::int64_t at) {
    if (at < 0) at = at < -extent ? -1 - extent : at + extent;
    return step > 0 ? std::clamp<std::int64_t>(at, 0, extent)
                    : std::clamp<std::int64_t>(at, -1, extent - 1);
  };
  const std::int64_t first = bounded(start);
  const std::int64_t last = bounded(end);
  step = std::clamp<std::int64_t>(step, -extent - 1, extent + 1);
  const std::int64_t count =
      step > 0 ? (last - first + step - 1) / step : (first - last - step - 1) / -step;
  if (count < 1) return empty_along(node, x, axis);
  return slice_axis(node, x, axis, first, count, step);
}

void import_slice(NodeReader& node) {
  Value x = node.input(0);
  const std::int64_t rank = x.type().rank();
  const Ints starts = node.integers("starts", 1).value_or(Ints{});
  const Ints ends = node.integers("ends", 2).value_or(Ints{});
  Ints all(starts.size());
  std::iota(all.begin(), all.end(), std::int64_t{0});
  const Ints axes = node.integers("axes", 3).value_or(all);
  const Ints steps = node.integers("steps", 4).value_or(Ints(starts.size(), 1));
  if (ends.size() != starts.size() || axes.size() != starts.size() ||
      steps.size() != starts.size()) {
    node.unsupported("starts, ends, axes and steps differ in length");
  }
  normal_axes(node, axes, rank);
  for (std::size_t i = 0; i < starts.size(); ++i) {
    x = slice_one(node, x, axes[i] < 0 ? axes[i] + rank : axes[i], starts[i], ends[i], steps[i]);
  }
  node.set(x);
}

void import_split(NodeReader& node) {
  const Value x = node.input(0);
  const std::int64_t axis = node.axis("axis", 0, x.type().rank());
  const std::int64_t extent = fixed_extent(node, x, axis, "a split");
  const std::int64_t parts = node.integer("num_outputs", node.output_count());
  if (parts != node.output_count()) node.unsupported("num_outputs is not the number of outputs");
  // Equal parts; with num_outputs the last one may be smaller.
  Ints sizes(static_cast<std::size_t>(parts), (extent + parts - 1) / parts);
  sizes.back() = extent - (parts - 1) * sizes.front();
  sizes = node.integers("split", 1).value_or(sizes);
  if (static_cast<std::int64_t>(sizes.size()) != parts)
    node.unsupported("split has another length");
  std::int64_t start = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] < 0 || sizes[i] > extent - start)
      node.unsupported(fmt::format("a part of {}", sizes[i]));
    node.set(static_cast<int>(i), sizes[i] == 0 ? empty_along(node, x, axis)
                                                : slice_axis(node, x, axis, start, sizes[i]));
    start += sizes[i];
  }
}

void import_expand(NodeReader& node) {
  const Value x = node.input(0);
  node.set(node.expand(x, broadcast(x.shape(), node.dims(1))));
}

void import_constant(NodeReader& node) {
  if (node.has("value")) return node.set(node.tensor_attribute("value"));
  const auto numbers = [&](const Doubles& values, DType dtype, bool list) {
    HostTensor tensor =
        HostTensor::from_doubles({static_cast<std::int64_t>(values.size())}, values).cast(dtype);
    node.set(list ? tensor : tensor.reshaped({}));
  };
  if (node.has("value_float")) return numbers({node.number("value_float", 0)}, DType::f32, false);
  if (node.has("value_floats")) return numbers(node.doubles("value_floats", {}), DType::f32, true);
  const bool list = node.has("value_ints");
  if (!list && !node.has("value_int")) node.unsupported("its value is a string or a sparse tensor");
  const Ints values = list ? node.ints("value_ints", {}) : Ints{node.integer("value_int", 0)};
  HostTensor tensor(DType::i64, {static_cast<std::int64_t>(values.size())});
  std::ranges::copy(values, tensor.as_mutable<std::int64_t>());
  node.set(list ? tensor : tensor.reshaped({}));
}

void import_constant_of_shape(NodeReader& node) {
  const Shape shape = node.dims(0);
  const HostTensor fill =
      node.has("value") ? node.tensor_attribute("value") : HostTensor(DType::f32, {1});
  if (fill.element_count() != 1) node.unsupported("its value must have one element");
  for (const Dim& extent : shape) {
    if (extent.factor < 0) node.unsupported("a negative extent in " + to_string(shape));
  }
  if (!is_static(shape)) return node.set(node.expand(node.constant(fill.reshaped({})), shape));
  element_count(shape);  // throws if it overflows
  node.set_filled(0, Type{fill.dtype(), shape, {}}, fill);
}

/// These need no value of their input, and come here only when a table is asked whether it has
/// them.
void import_shape_of(NodeReader& node) { fold_shape_arithmetic(node); }

void import_identity(NodeReader& node) { node.pass_through(0, 0); }

}  // namespace

void add_shape_handlers(HandlerTable& table) {
  table.add("Reshape", import_reshape);
  table.add("Flatten", import_flatten);
  table.add("Transpose", import_transpose);
  table.add("Squeeze", import_squeeze);
  table.add("Unsqueeze", import_unsqueeze);
  table.add("Concat", import_concat);
  table.add("Slice", import_slice);
  table.add("Split", import_split);
  table.add("Expand", import_expand);
  table.add("Constant", import_constant);
  table.add("ConstantOfShape", import_constant_of_shape);
  table.add("Shape", import_shape_of);
  table.add("Size", import_shape_of);
  table.add("Identity", import_identity);
}

}  // namespace facet::onnx_import
