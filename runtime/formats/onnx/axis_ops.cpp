#include "runtime/formats/onnx/axis_ops.h"

#include <fmt/format.h>

#include <algorithm>

namespace facet::onnx_import {

std::int64_t fixed_extent(const NodeReader& node, Value x, std::int64_t axis,
                          std::string_view what) {
  const Dim& extent = x.shape().at(static_cast<std::size_t>(axis));
  if (extent.is_static()) return extent.factor;
  node.unsupported(
      fmt::format("{} along axis {} of {}, which is dynamic; give it an extent (--dim "
                  "{}=EXTENT)",
                  what, axis, to_string(x.type()), extent.symbol));
}

Value pad_axis(NodeReader& node, Value x, std::int64_t axis, std::int64_t before,
               std::int64_t after) {
  if (before < 0 || after < 0) {
    const std::int64_t extent = fixed_extent(node, x, axis, "cropping");
    const std::int64_t start = std::max<std::int64_t>(-before, 0);
    const std::int64_t count = extent - start - std::max<std::int64_t>(-after, 0);
    if (count < 1 || start > extent) node.unsupported("negative padding that leaves nothing");
    x = slice_axis(node, x, axis, start, count);
  }
  before = std::max<std::int64_t>(before, 0);
  after = std::max<std::int64_t>(after, 0);
  if (before == 0 && after == 0) return x;
  fixed_extent(node, x, axis, "padding");
  return node.make("pad", {x}, {{"axis", axis}, {"before", before}, {"after", after}});
}

Value slice_axis(NodeReader& node, Value x, std::int64_t axis, std::int64_t start,
                 std::int64_t count, std::int64_t step) {
  const std::int64_t extent = fixed_extent(node, x, axis, "a slice");
  if (step < 0) {
    x = reverse_axis(node, x, axis);
    start = extent - 1 - start;
    step = -step;
  }
  if (count == 1) step = 1;
  if (start == 0 && count == extent) return x;
  const std::int64_t end = start + count * step;  // of whole steps: the last one may need padding
  x = pad_axis(node, x, axis, 0, std::max<std::int64_t>(end - extent, 0));
  if (start != 0 || end < extent) {
    x = node.make("slice", {x}, {{"axis", axis}, {"start", start}, {"end", end}});
  }
  if (step == 1) return x;
  // [count * step] is [count, step], of which the first column is wanted.
  Shape shape = x.shape();
  const auto at = static_cast<std::size_t>(axis);
  shape[at] = Dim(count);
  Shape split = shape;
  split.insert(split.begin() + axis + 1, Dim(step));
  x = node.reshape(x, split);
  x = node.make("slice", {x},
                {{"axis", axis + 1}, {"start", std::int64_t{0}}, {"end", std::int64_t{1}}});
  return node.reshape(x, shape);
}

Value reverse_axis(NodeReader& node, Value x, std::int64_t axis) {
  return node.make("reverse", {x}, {{"axis", axis}});
}

Value concat_axis(NodeReader& node, std::vector<Value> parts, std::int64_t axis) {
  if (parts.size() == 1) return parts[0];
  return node.make("concat", std::move(parts), {{"axis", axis}});
}

}  // namespace facet::onnx_import
