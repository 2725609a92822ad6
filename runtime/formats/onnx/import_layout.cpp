#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "ir/op.h"
#include "runtime/formats/onnx/axis_ops.h"
#include "runtime/formats/onnx/node_reader.h"

// Operators that repeat, pad and regroup elements: Tile, Pad, CenterCropPad, DepthToSpace,
// SpaceToDepth, Col2Im, MaxUnpool.

namespace facet::onnx_import {
namespace {

std::int64_t normal(const NodeReader& node, std::int64_t axis, std::int64_t rank) {
  if (axis < -rank || axis >= rank) {
    node.unsupported(fmt::format("axis {} is outside a value of rank {}", axis, rank));
  }
  return axis < 0 ? axis + rank : axis;
}

std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

/// The axes a node names, each once, or all of them.
Ints axes_of(NodeReader& node, int input, std::int64_t rank, std::size_t count) {
  const std::optional<Ints> given = node.integers("axes", input);
  Ints axes(count);
  std::iota(axes.begin(), axes.end(), std::int64_t{0});
  if (given) axes = *given;
  for (std::int64_t& axis : axes) axis = normal(node, axis, rank);
  Ints sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  if (axes.size() != count || std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    node.unsupported(fmt::format("it names {} axes for {} values", axes.size(), count));
  }
  return axes;
}

void import_tile(NodeReader& node) {
  Value x = node.input(0);
  const Ints repeats = node.integers(1);
  if (repeats.size() != x.shape().size()) node.unsupported("it has not one repeat for each axis");
  for (std::int64_t axis = 0; axis < x.type().rank(); ++axis) {
    const std::int64_t count = repeats[at(axis)];
    if (count < 1) node.unsupported("its result has no elements");
    if (count == 1) continue;
    if (!is_static(x.shape())) {
      if (count > 1024)
        node.unsupported("it repeats a value of dynamic shape more than 1024 times");
      x = node.make("concat", std::vector<Value>(at(count), x), {{"axis", axis}});
      continue;
    }
    // [d] -> [1, d] -> [count, d] -> [count * d]
    Shape shape = x.shape();
    const std::int64_t extent = shape[at(axis)].factor;
    shape.insert(shape.begin() + axis, Dim(1));
    x = node.reshape(x, shape);
    shape[at(axis)] = count;
    x = node.expand(x, shape);
    shape.erase(shape.begin() + axis);
    if (__builtin_mul_overflow(extent, count, &shape[at(axis)].factor)) {
      node.unsupported("the extent of its result overflows");
    }
    x = node.reshape(x, shape);
  }
  node.set(x);
}

void import_pad(NodeReader& node) {
  Value x = node.input(0);
  const std::string mode = node.text("mode", "constant");
  const std::optional<Ints> pads = node.integers("pads", 1);
  if (!pads || pads->size() % 2 != 0) node.unsupported("it does not have two pads for each axis");
  const Ints axes = axes_of(node, 3, x.type().rank(), pads->size() / 2);
  const double value = node.has_input(2) ? node.number_input(2) : node.number("value", 0);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    x = pad_axis(node, x, axes[i], (*pads)[i], (*pads)[i + axes.size()], mode, value);
  }
  node.set(x);
}

/// Each axis to its wanted extent, from its middle; of an odd number the last side has one more.
void import_center_crop_pad(NodeReader& node) {
  Value x = node.input(0);
  const Ints shape = node.integers(1);
  Ints axes = node.ints("axes", {});
  if (axes.empty()) {
    axes.resize(shape.size());
    std::iota(axes.begin(), axes.end(), std::int64_t{0});
  }
  if (axes.size() != shape.size()) node.unsupported("it has not one extent for each axis");
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::int64_t axis = normal(node, axes[i], x.type().rank());
    const Dim& extent = x.shape()[at(axis)];
    if (!extent.is_static()) node.unsupported("it crops or pads a dynamic axis");
    if (shape[i] < 1) node.unsupported("its result has no elements");
    const std::int64_t more = shape[i] - extent.factor;
    x = pad_axis(node, x, axis, more / 2, more - more / 2);
  }
  node.set(x);
}

/// x [N, C, H, W] and the block's extent, which must divide what is cut.
std::int64_t block_of(NodeReader& node, Value x) {
  const std::int64_t block = node.integer("blocksize", 0);
  if (x.type().rank() != 4 || !x.shape()[1].is_static()) {
    node.unsupported(fmt::format("it takes [N, C, H, W], not {}", to_string(x.type())));
  }
  if (block < 1 || block > INT16_MAX) node.unsupported(fmt::format("blocksize {}", block));
  return block;
}

Dim divided(const NodeReader& node, const Dim& dim, std::int64_t by) {
  if (dim.factor % by != 0) {
    node.unsupported(fmt::format("{} is no multiple of {}", to_string(dim), by));
  }
  Dim result = dim;
  result.factor /= by;
  return result;
}

Dim multiplied(const Dim& dim, std::int64_t by) {
  Dim result = dim;
  result.factor *= by;
  return result;
}

void import_depth_to_space(NodeReader& node) {
  const Value x = node.input(0);
  const std::int64_t block = block_of(node, x);
  const Shape& in = x.shape();
  const Dim channels = divided(node, in[1], block * block);
  const std::string mode = node.text("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") node.unsupported(fmt::format("mode '{}'", mode));
  const bool depth_first = mode == "DCR";
  const Shape six = depth_first ? Shape{in[0], block, block, channels, in[2], in[3]}
                                : Shape{in[0], channels, block, block, in[2], in[3]};
  const Value apart = node.transpose(node.reshape(x, six),
                                     depth_first ? Ints{0, 3, 4, 1, 5, 2} : Ints{0, 1, 4, 2, 5, 3});
  node.set(
      node.reshape(apart, {in[0], channels, multiplied(in[2], block), multiplied(in[3], block)}));
}

void import_space_to_depth(NodeReader& node) {
  const Value x = node.input(0);
  const std::int64_t block = block_of(node, x);
  const Shape& in = x.shape();
  const Dim height = divided(node, in[2], block), width = divided(node, in[3], block);
  const Value blocks = node.reshape(x, {in[0], in[1], height, block, width, block});
  node.set(node.reshape(node.transpose(blocks, {0, 3, 5, 1, 2, 4}),
                        {in[0], multiplied(in[1], block * block), height, width}));
}

/// Extents of a window operator: the attribute, or `fallback` for each spatial axis.
Ints windows(const NodeReader& node, std::string_view attribute, std::size_t count,
             std::int64_t fallback) {
  const Ints values = node.ints(attribute, Ints(count, fallback));
  const bool small = std::all_of(values.begin(), values.end(), [](std::int64_t value) {
    return value >= 0 && value <= INT32_MAX;
  });
  if (values.size() != count || !small) {
    node.unsupported(
        fmt::format("attribute '{}' does not hold {} whole numbers", attribute, count));
  }
  return values;
}

/// The geometry of Col2Im: blocks lie over an image, each element of each block has its place
/// there.
struct Blocks {
  Ints image, block, dilations, strides, pads;
  Ints counts;  ///< of blocks along each axis

  /// Where element k of block l lies in the image, or the image's element count for padding.
  std::int64_t place(std::int64_t k, std::int64_t l) const {
    std::int64_t place = 0, step = 1;
    bool inside = true;
    for (std::size_t axis = image.size(); axis-- > 0;) {
      const std::int64_t i =
          l % counts[axis] * strides[axis] + k % block[axis] * dilations[axis] - pads[axis];
      k /= block[axis];
      l /= counts[axis];
      inside = inside && i >= 0 && i < image[axis];
      place += i * step;
      step *= image[axis];
    }
    return inside ? place : step;
  }
};

Blocks read_blocks(NodeReader& node) {
  Blocks b;
  b.image = node.integers(1);
  b.block = node.integers(2);
  const std::size_t rank = b.image.size();
  if (rank == 0 || b.block.size() != rank)
    node.unsupported("its block has another rank than its image");
  b.dilations = windows(node, "dilations", rank, 1);
  b.strides = windows(node, "strides", rank, 1);
  b.pads = windows(node, "pads", 2 * rank, 0);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    for (const std::int64_t extent : {b.image[axis], b.block[axis], b.strides[axis]}) {
      if (extent < 1 || extent > INT32_MAX)
        node.unsupported(fmt::format("an extent of {}", extent));
    }
    const std::int64_t span = b.image[axis] + b.pads[axis] + b.pads[axis + rank] -
                              b.dilations[axis] * (b.block[axis] - 1) - 1;
    if (span < 0) node.unsupported("a block does not fit into the image");
    b.counts.push_back(span / b.strides[axis] + 1);
  }
  return b;
}

/// The product of positive extents below 2^31, if it is at most `most`.
std::int64_t bounded_product(const NodeReader& node, const Ints& extents, std::int64_t most) {
  std::int64_t product = 1;
  for (const std::int64_t extent : extents) {
    product *= extent;
    if (product > most) node.unsupported(fmt::format("more than {} elements", most));
  }
  return product;
}

/// Each element is added where it lies; padding goes to one element behind the image, which is cut
/// off.
void import_col2im(NodeReader& node) {
  constexpr std::int64_t kMost = std::int64_t{1} << 24;
  const Value x = node.input(0);
  const Blocks blocks = read_blocks(node);
  const std::int64_t elements = bounded_product(node, blocks.block, kMost);
  const std::int64_t count = bounded_product(node, blocks.counts, kMost);
  const std::int64_t image = bounded_product(node, blocks.image, kMost);
  bounded_product(node, {elements, count}, kMost);
  const Shape& in = x.shape();
  if (in.size() != 3 || !in[1].is_static() || in[1].factor % elements != 0 || in[2] != Dim(count)) {
    node.unsupported(
        fmt::format("it takes [N, C * {}, {}], not {}", elements, count, to_string(x.type())));
  }
  const Dim channels = in[1].factor / elements;
  HostTensor places(DType::i64, {elements * count});
  bool pads = false;
  for (std::int64_t i = 0; i < elements * count; ++i) {
    const std::int64_t place = blocks.place(i / count, i % count);
    places.as_mutable<std::int64_t>()[i] = place;
    pads = pads || place == image;
  }
  Value y = node.make("scatter_add",
                      {node.reshape(x, {in[0], channels, elements * count}), node.constant(places)},
                      {{"axis", std::int64_t{2}}, {"extent", image + (pads ? 1 : 0)}});
  if (pads) {
    y = node.make("slice", {y},
                  {{"axis", std::int64_t{2}}, {"start", std::int64_t{0}}, {"end", image}});
  }
  Shape shape{in[0], channels};
  shape.insert(shape.end(), blocks.image.begin(), blocks.image.end());
  node.set(node.reshape(y, shape));
}

/// The indices count through the whole result, batch and channels included.
void import_max_unpool(NodeReader& node) {
  const Value x = node.input(0), indices = node.input(1);
  if (x.type().rank() < 3 || !is_static(x.shape()) || indices.shape() != x.shape()) {
    node.unsupported(
        fmt::format("it takes a value of fixed shape [N, C, ...] and as many indices, not "
                    "{} and {}",
                    to_string(x.type()), to_string(indices.type())));
  }
  const std::size_t rank = x.shape().size() - 2;
  const Ints kernel = windows(node, "kernel_shape", rank, 0);
  const Ints strides = windows(node, "strides", rank, 1);
  const Ints pads = windows(node, "pads", 2 * rank, 0);
  Ints extents = static_extents(x.shape());
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t extent =
        (extents[i + 2] - 1) * strides[i] - pads[i] - pads[i + rank] + kernel[i];
    if (extents[i + 2] > INT32_MAX || extent < 1)
      node.unsupported("its result has no such extents");
    extents[i + 2] = extent;
  }
  const std::int64_t count = bounded_product(node, extents, INT32_MAX);
  const Value zeros = node.expand(node.scalar(0, x), {count});
  const Dim from = element_count(x.shape());
  Value y = node.make("scatter_elements",
                      {zeros, node.reshape(indices, {from}), node.reshape(x, {from})});
  y = node.reshape(y, Shape(extents.begin(), extents.end()));
  if (node.has_input(2)) {
    const Ints wanted = node.integers(2);
    if (wanted.size() != extents.size()) node.unsupported("output_shape has another rank");
    for (std::size_t axis = 0; axis < wanted.size(); ++axis) {
      y = pad_axis(node, y, static_cast<std::int64_t>(axis), 0, wanted[axis] - extents[axis]);
    }
  }
  node.set(y);
}

}  // namespace

void add_layout_handlers(HandlerTable& table) {
  table.add("Tile", import_tile);
  table.add("Pad", import_pad);
  table.add("CenterCropPad", import_center_crop_pad);
  table.add("DepthToSpace", import_depth_to_space);
  table.add("SpaceToDepth", import_space_to_depth);
  table.add("Col2Im", import_col2im);
  table.add("MaxUnpool", import_max_unpool);
}

}  // namespace facet::onnx_import
