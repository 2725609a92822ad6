#include <fmt/format.h>

#include <algorithm>

#include "runtime/formats/onnx/import_windows.h"

// Pools in one, two and three dimensions. The ops pool images with undilated windows: lines are
// images one pixel high, and a box is pooled over its height and width and then over its depth.

namespace facet::onnx_import {
namespace {

/// Elements of a table that is built of a few attributes.
constexpr double kMostElements = 4 * 1024 * 1024;

void require_small(const NodeReader& node, double elements) {
  if (elements <= kMostElements) return;
  node.unsupported(fmt::format("a table of {} elements for its means", elements));
}

/// A pool's window, the padding that the file gives, and the places that ceil_mode adds as padding
/// behind it.
struct Pool {
  Window window;    ///< pads as the ops need them
  Ints given_pads;  ///< what count_include_pad counts
};

Pool read_pool(const NodeReader& node, const Shape& x) {
  Pool pool;
  pool.window = read_window(node, x, required_kernel(node));
  Window& window = pool.window;
  pool.given_pads = window.pads;
  if (!node.flag("ceil_mode", false)) return pool;
  for (std::size_t i = 0; i < window.axes(); ++i) {
    const std::int64_t in = static_extents({x[i + 2]})[0];
    std::int64_t& behind = window.pads[i + window.axes()];
    const std::int64_t stride = window.strides[i];
    const std::int64_t room = in + window.pads[i] + behind - window.span(i);
    if (room < 0) continue;  // inference says that the window does not fit
    std::int64_t steps = (room + stride - 1) / stride;
    // A window that would start behind x and its front padding does not count.
    if (steps * stride >= in + window.pads[i]) --steps;
    behind += std::max<std::int64_t>(steps * stride - room, 0);
  }
  return pool;
}

/// Windows over [N, C, D, H, W] one after the other: over [H, W], then over D. `op` is one of the
/// image pools, for which the parts' results give that of the whole.
Value pool_box(NodeReader& node, std::string_view op, Value x, const Window& window) {
  const auto part = [&](std::size_t first, std::size_t last) {
    const auto cut = [&](const Ints& values) {
      return Ints(values.begin() + static_cast<std::ptrdiff_t>(first),
                  values.begin() + static_cast<std::ptrdiff_t>(last));
    };
    Ints pads = cut(window.pads);
    for (std::size_t i = first; i < last; ++i) pads.push_back(window.pads[i + 3]);
    return Attributes{
        {"kernel", cut(window.kernel)}, {"strides", cut(window.strides)}, {"pads", pads}};
  };
  Shape shape = x.shape();
  const Shape planes{shape[0], shape[1].factor * shape[2].factor, shape[3], shape[4]};
  const Value flat = node.make(op, {node.reshape(x, planes)}, part(1, 3));
  shape[3] = flat.shape()[2];
  shape[4] = flat.shape()[3];
  Attributes depth = part(0, 1);
  depth.set("kernel", Ints{window.kernel[0], 1});
  depth.set("strides", Ints{window.strides[0], 1});
  depth.set("pads", Ints{window.pads[0], 0, window.pads[3], 0});
  const Shape columns{shape[0], shape[1], shape[2], shape[3].factor * shape[4].factor};
  const Value deep = node.make(op, {node.reshape(flat, columns)}, std::move(depth));
  shape[2] = deep.shape()[2];
  return node.reshape(deep, shape);
}

/// The image pool `op` on x with two or three spatial axes.
Value pool_undilated(NodeReader& node, std::string_view op, Value x, const Window& window) {
  if (window.axes() == 3) return pool_box(node, op, x, window);
  Attributes attributes = window.with_kernel();
  attributes.erase("dilations");
  return node.make(op, {x}, std::move(attributes));
}

/// The mean of each window, padding as zeros: a dilated one as a convolution of each channel.
Value mean_of_windows(NodeReader& node, Value x, const Window& window) {
  if (!window.is_dilated()) return pool_undilated(node, "avg_pool", x, window);
  const std::int64_t channels = static_extents({x.shape()[1]})[0];
  Ints extents{channels, 1};
  double taps = 1;
  for (const std::int64_t extent : window.kernel) taps *= static_cast<double>(extent);
  require_small(node, taps * static_cast<double>(channels));
  extents.insert(extents.end(), window.kernel.begin(), window.kernel.end());
  HostTensor weight(DType::f32, extents);
  std::fill_n(weight.as_mutable<float>(), weight.element_count(), static_cast<float>(1 / taps));
  Attributes attributes = window.attributes();
  attributes.set("groups", channels);
  return node.make(window.axes() == 3 ? "conv3d" : "conv",
                   {x, node.constant(weight.cast(x.dtype()))}, std::move(attributes));
}

/// Taps of a window over elements of the number of those that count, for every place along an axis:
/// those on x, or on x and the padding that the file gives.
Doubles shares(const Pool& pool, std::size_t axis, std::int64_t in, std::int64_t places,
               bool counts_padding) {
  const Window& window = pool.window;
  const std::int64_t before = counts_padding ? pool.given_pads[axis] : 0;
  const std::int64_t behind = counts_padding ? pool.given_pads[axis + window.axes()] : 0;
  // Taps before `end`, from the front of a window that starts at `start`.
  const auto taps_before = [&](std::int64_t start, std::int64_t end) {
    const std::int64_t step = window.dilations[axis];
    const std::int64_t reached = std::max<std::int64_t>(end - start + step - 1, 0) / step;
    return std::min(reached, window.kernel[axis]);
  };
  Doubles result;
  for (std::int64_t o = 0; o < places; ++o) {
    const std::int64_t start = o * window.strides[axis] - window.pads[axis];
    const std::int64_t counted = taps_before(start, in + behind) - taps_before(start, -before);
    result.push_back(static_cast<double>(window.kernel[axis]) /
                     static_cast<double>(std::max<std::int64_t>(counted, 1)));
  }
  return result;
}

/// What turns means over whole windows into means over the elements that count; none where all do.
std::optional<HostTensor> mean_correction(const NodeReader& node, const Pool& pool, const Shape& x,
                                          const Shape& y, bool counts_padding, DType dtype) {
  Ints extents{1, 1};
  std::vector<double> values{1};
  double places = 1;
  for (std::size_t i = 2; i < y.size(); ++i) places *= static_cast<double>(y[i].factor);
  const bool pads = std::any_of(pool.window.pads.begin(), pool.window.pads.end(),
                                [](std::int64_t pad) { return pad != 0; });
  if (!pads) return std::nullopt;
  require_small(node, places);
  for (std::size_t i = 0; i < pool.window.axes(); ++i) {
    const Doubles along = shares(pool, i, x[i + 2].factor, y[i + 2].factor, counts_padding);
    // Means without padding need none, and a table the size of a whole image is not built for them.
    const bool even = std::all_of(along.begin(), along.end(), [](double v) { return v == 1; });
    extents.push_back(even ? 1 : y[i + 2].factor);
    if (even) continue;
    std::vector<double> next;
    for (const double value : values) {
      for (const double share : along) next.push_back(value * share);
    }
    values = std::move(next);
  }
  if (element_count(extents) == 1) return std::nullopt;
  return HostTensor::from_doubles(extents, values).cast(dtype);
}

void import_average_pool(NodeReader& node) {
  Value x = node.input(0);
  const bool line = x.type().rank() == 3;
  Pool pool = read_pool(node, x.shape());
  if (line) {
    x = as_image(node, x);
    pool.given_pads = {0, pool.given_pads[0], 0, pool.given_pads[1]};
    pool.window = as_image(pool.window);
  }
  Value y = mean_of_windows(node, x, pool.window);
  const std::optional<HostTensor> correction = mean_correction(
      node, pool, x.shape(), y.shape(), node.flag("count_include_pad", false), x.dtype());
  if (correction) y = node.make("mul", {y, node.constant(*correction)});
  node.set(line ? as_line(node, y) : y);
}

void import_max_pool(NodeReader& node) {
  Value x = node.input(0);
  const bool line = x.type().rank() == 3;
  Window window = read_pool(node, x.shape()).window;
  if (line) {
    x = as_image(node, x);
    window = as_image(window);
  }
  const Value y = window.is_dilated() ? node.make("max_pool_dilated", {x}, window.with_kernel())
                                      : pool_undilated(node, "max_pool", x, window);
  node.set(0, line ? as_line(node, y) : y);
  if (!node.wants(1)) return;
  Attributes attributes = window.with_kernel();
  attributes.set("column_major", node.flag("storage_order", false));
  const Value indices = node.make("max_pool_indices", {x}, std::move(attributes));
  node.set(1, line ? as_line(node, indices) : indices);
}

/// |x|^p.
Value magnitude(NodeReader& node, Value x, double p) {
  if (p == 2) return node.make("square", {x});
  const Value positive = node.make("abs", {x});
  return p == 1 ? positive : node.make("pow", {positive, node.scalar(p, x)});
}

/// x^(1/p).
Value root(NodeReader& node, Value x, double p) {
  if (p == 1) return x;
  return p == 2 ? node.make("sqrt", {x}) : node.make("pow", {x, node.scalar(1 / p, x)});
}

/// The attribute p, an integer but in the operators' first version.
double exponent(const NodeReader& node) {
  const auto p = static_cast<double>(node.integer("p", 2));
  if (p < 1) node.unsupported(fmt::format("p is {}", p));
  return p;
}

void import_lp_pool(NodeReader& node) {
  const double p = exponent(node);
  Value x = node.input(0);
  const bool line = x.type().rank() == 3;
  Window window = read_pool(node, x.shape()).window;
  if (line) {
    x = as_image(node, x);
    window = as_image(window);
  }
  double taps = 1;
  for (const std::int64_t extent : window.kernel) taps *= static_cast<double>(extent);
  const Value mean = mean_of_windows(node, magnitude(node, x, p), window);
  const Value y = root(node, node.make("mul", {mean, node.scalar(taps, mean)}), p);
  node.set(line ? as_line(node, y) : y);
}

Ints spatial_axes(const NodeReader& node, Value x) {
  if (x.type().rank() < 3) node.unsupported("a global pool of " + to_string(x.type()));
  Ints axes;
  for (std::int64_t axis = 2; axis < x.type().rank(); ++axis) axes.push_back(axis);
  return axes;
}

void import_global_average_pool(NodeReader& node) {
  const Value x = node.input(0);
  node.set(node.make("reduce_mean", {x}, {{"axes", spatial_axes(node, x)}}));
}

void import_global_max_pool(NodeReader& node) {
  const Value x = node.input(0);
  node.set(node.make("reduce_max", {x}, {{"axes", spatial_axes(node, x)}}));
}

void import_global_lp_pool(NodeReader& node) {
  const double p = exponent(node);
  const Value x = node.input(0);
  const Value sum =
      node.make("reduce_sum", {magnitude(node, x, p)}, {{"axes", spatial_axes(node, x)}});
  node.set(root(node, sum, p));
}

}  // namespace

void add_pooling_handlers(HandlerTable& table) {
  table.add("AveragePool", import_average_pool);
  table.add("MaxPool", import_max_pool);
  table.add("LpPool", import_lp_pool);
  table.add("GlobalAveragePool", import_global_average_pool);
  table.add("GlobalMaxPool", import_global_max_pool);
  table.add("GlobalLpPool", import_global_lp_pool);
}

}  // namespace facet::onnx_import
