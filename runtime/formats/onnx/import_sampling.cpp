#include <fmt/format.h>

#include <cmath>

#include "ir/op.h"
#include "runtime/formats/onnx/node_reader.h"

// Operators that read images at points between their elements: AffineGrid, GridSample, RoiAlign.

namespace facet::onnx_import {
namespace {

/// Coordinate i of `count` from -1 to 1: of the elements' middles, or of the outermost ones'
/// (align_corners).
double coordinate(std::int64_t i, std::int64_t count, bool align_corners) {
  if (!align_corners) {
    return (2 * static_cast<double>(i) + 1) / static_cast<double>(count) - 1;
  }
  return count == 1 ? -1 : 2 * static_cast<double>(i) / static_cast<double>(count - 1) - 1;
}

/// The points of an image of `extents`, last axis first, with a 1 behind each: [points, rank + 1].
HostTensor points_of(const Ints& extents, std::int64_t count, bool align_corners, DType dtype) {
  const auto rank = static_cast<std::int64_t>(extents.size());
  HostTensor points(DType::f64, {count, rank + 1});
  double* to = points.as_mutable<double>();
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t rest = i;
    for (std::size_t axis = extents.size(); axis-- > 0; rest /= extents[axis]) {
      *to++ = coordinate(rest % extents[axis], extents[axis], align_corners);
    }
    *to++ = 1;
  }
  return points.cast(dtype);
}

/// grid [N, ..., rank] = points x theta^T.
void import_affine_grid(NodeReader& node) {
  const Value theta = node.input(0);
  const Shape size = node.dims(1);
  if (size.size() != 4 && size.size() != 5)
    node.unsupported("it knows images of 2 and 3 dimensions");
  Ints extents;
  std::int64_t count = 1;
  for (std::size_t axis = 2; axis < size.size(); ++axis) {
    const Dim& extent = size[axis];
    if (!extent.is_static() || extent.factor < 1 || extent.factor > (1 << 22) / count) {
      node.unsupported(fmt::format("an image of {}", to_string(size)));
    }
    extents.push_back(extent.factor);
    count *= extent.factor;
  }
  const auto rank = static_cast<std::int64_t>(extents.size());
  if (!(theta.shape() == Shape{size[0], rank, rank + 1})) {
    node.unsupported(
        fmt::format("it takes theta [N, {}, {}], not {}", rank, rank + 1, to_string(theta.type())));
  }
  const Value points =
      node.constant(points_of(extents, count, node.flag("align_corners", false), theta.dtype()));
  const Value grid = node.make("matmul", {points, theta}, {{"transpose_b", true}});
  Shape shape{size[0]};
  shape.insert(shape.end(), extents.begin(), extents.end());
  shape.emplace_back(rank);
  node.set(node.reshape(grid, shape));
}

void import_grid_sample(NodeReader& node) {
  std::string mode = node.text("mode", "linear");
  if (mode == "bilinear") mode = "linear";  // the words of opset 16
  if (mode == "bicubic") mode = "cubic";
  node.set(node.make("grid_sample", {node.input(0), node.input(1)},
                     {{"mode", mode},
                      {"padding", node.text("padding_mode", "zeros")},
                      {"align_corners", node.flag("align_corners", false)}}));
}

/// Until opset 16 elements lay at whole numbers.
void import_roi_align(NodeReader& node) {
  const std::string fallback = node.opset() < 16 ? "output_half_pixel" : "half_pixel";
  const std::string coordinates = node.text("coordinate_transformation_mode", fallback);
  if (coordinates != "half_pixel" && coordinates != "output_half_pixel") {
    node.unsupported(fmt::format("coordinate_transformation_mode '{}'", coordinates));
  }
  node.set(node.make("roi_align", {node.input(0), node.input(1), node.input(2)},
                     {{"mode", node.text("mode", "avg")},
                      {"output_height", node.integer("output_height", 1)},
                      {"output_width", node.integer("output_width", 1)},
                      {"sampling_ratio", node.integer("sampling_ratio", 0)},
                      {"spatial_scale", node.number("spatial_scale", 1)},
                      {"half_pixel", coordinates == "half_pixel"}}));
}

}  // namespace

void add_sampling_handlers(HandlerTable& table) {
  table.add("AffineGrid", import_affine_grid);
  table.add("GridSample", import_grid_sample);
  table.add("RoiAlign", import_roi_align);
}

}  // namespace facet::onnx_import
