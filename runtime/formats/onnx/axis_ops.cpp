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

Value pad_axis(NodeReader& node, Value x, std::int64_t axis, std::int64_t before, std::int64_t after,
               const std::string& mode, double value) {
  if (before < 0 || after < 0) {
    const std::int64_t extent = fixed_extent(node, x, axis, "cropping");
    // One more than there is to crop leaves nothing either, and has no sums that overflow.
    const std::int64_t start = -std::clamp<std::int64_t>(before, -extent - 1, 0);
    const std::int64_t count = extent - start + std::clamp<std::int64_t>(after, -extent - 1, 0);
    if (count < 1) node.unsupported("negative padding that leaves nothing");
    x = slice_axis(node, x, axis, start, count);
  }
  before = std::max<std::int64_t>(before, 0);
  after = std::max<std::int64_t>(after, 0);
  if (before == 0 && after == 0) return x;
  fixed_extent(node, x, axis, "padding");
  return node.make("pad", {x},
                   {{"axis", axis},
                    {"before", before},
                    {"after", after},
                    {"mode", mode},
                    {"value", value}});
}

Value slice_axis(NodeReader& node, Value x, std::int64_t axis, std::int64_t start,
                 std::int64_t count, std::int64_t step) {
  const std::int64_t extent = fixed_extent(node, x, axis, "a slice");
  if (count == 1) step = 1;
  if (count == extent && step == 1) return x;
  if (count == extent && step == -1) return reverse_axis(node, x, axis);
  if (step == 1) {
    return node.make("slice", {x}, {{"axis", axis}, {"start", start}, {"end", start + count}});
  }
  return node.make("strided_slice", {x},
                   {{"axis", axis}, {"start", start}, {"count", count}, {"step", step}});
}

Value reverse_axis(NodeReader& node, Value x, std::int64_t axis) {
  return node.make("reverse", {x}, {{"axis", axis}});
}

Value concat_axis(NodeReader& node, std::vector<Value> parts, std::int64_t axis) {
  if (parts.size() == 1) return parts[0];
  return node.make("concat", std::move(parts), {{"axis", axis}});
}

}  // namespace facet::onnx_import
