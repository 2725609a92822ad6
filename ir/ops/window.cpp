#include "ir/ops/window.h"

#include <fmt/format.h>

#include "ir/error.h"
#include "ir/ops/families.h"

namespace facet::ops {

Sliding::Sliding(const InferContext& context, std::size_t axes)
    : strides(context.attributes.ints("strides")), pads(context.attributes.ints("pads")) {
  dilations =
      context.attributes.has("dilations") ? context.attributes.ints("dilations") : Ints(axes, 1);
  if (strides.size() != axes || pads.size() != 2 * axes || dilations.size() != axes) {
    throw usage_error(fmt::format("'{}' takes {} strides, {} pads and {} dilations here",
                                  context.op.name, axes, 2 * axes, axes));
  }
  for (const std::int64_t stride : strides) require_extent("stride", stride, 1);
  for (const std::int64_t pad : pads) require_extent("padding", pad, 0);
  for (const std::int64_t dilation : dilations) require_extent("dilation", dilation, 1);
}

std::int64_t Sliding::span(std::size_t axis, std::int64_t kernel) const {
  require_extent("extent of the window", kernel, 1);
  const std::int64_t covered = (kernel - 1) * dilations[axis] + 1;
  require_extent("extent that the window covers", covered, 1);
  return covered;
}

Dim Sliding::places(std::size_t axis, const Dim& in, std::int64_t kernel) const {
  if (!in.is_static()) throw usage_error("a spatial extent cannot be symbolic: " + to_string(in));
  require_extent("extent of the image", in.factor, 0);
  const std::int64_t padding = pads[axis] + pads[axis + strides.size()];
  const std::int64_t room = in.factor + padding - span(axis, kernel);
  if (room < 0) {
    throw usage_error(
        fmt::format("a window of {} does not fit into an extent of {} with {} padding",
                    span(axis, kernel), in.factor, padding));
  }
  return room / strides[axis] + 1;
}

Type infer_window_product(const InferContext& context, const Type& x, const Type& weight,
                          std::size_t axes) {
  const std::int64_t groups = context.attributes.integer("groups");
  if (x.shape.size() != axes + 2 || weight.shape.size() != axes + 2) {
    throw usage_error(
        fmt::format("'{}' takes images and weights with {} spatial axes, not {} and {}",
                    context.op.name, axes, to_string(x), to_string(weight)));
  }
  require_floats(context);
  require_extent("groups", groups, 1);
  const std::vector<std::int64_t> w = static_extents(weight.shape);
  for (const std::int64_t extent : w) require_extent("extent of the weight", extent, 1);
  if (!(x.shape[1] == Dim(w[1] * groups)) || w[0] % groups != 0) {
    throw usage_error(fmt::format("x has {} channels, but weight {} with {} groups reads {}",
                                  to_string(x.shape[1]), to_string(weight.shape), groups,
                                  w[1] * groups));
  }
  const Sliding window(context, axes);
  Type result{x.dtype, {x.shape[0], w[0]}, {}};
  for (std::size_t i = 0; i < axes; ++i) {
    result.shape.push_back(window.places(i, x.shape[i + 2], w[i + 2]));
  }
  return result;
}

}  // namespace facet::ops
