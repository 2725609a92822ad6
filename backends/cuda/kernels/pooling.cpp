#include "backends/cuda/kernels/pooling.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

using Place = KernelArgument::Place;

constexpr int kThreads = 256;
constexpr std::int64_t kMostTaps = 255;  // a byte tells one of them, or that there is none

/// One spatial axis of a window.
struct WindowAxis {
  std::int64_t taps = 1, stride = 1, pad = 0, dilation = 1;
  std::int64_t in = 0, out = 0;  ///< extents of the image and of the places of the window

  /// Whether a tap may stand outside the image.
  bool reaches_out() const {
    return pad > 0 || (out - 1) * stride - pad + (taps - 1) * dilation >= in;
  }
};

/// A pooling or its gradient: images are x and dx, places are y and dy.
struct Pooling {
  std::vector<WindowAxis> window;
  std::vector<std::int64_t> image;   ///< extents [N, C, spatial...]
  std::vector<std::int64_t> places;  ///< the same behind the window
  bool is_max = true;
  std::string type;  ///< of the elements in memory

  std::int64_t taps() const {
    std::int64_t product = 1;
    for (const WindowAxis& axis : window) product *= axis.taps;
    return product;
  }
};

Pooling pooling_of(const Node& node, const Type& image, const Type& places) {
  const Attributes& a = node.attributes();
  Pooling pooling;
  pooling.image = static_extents(image.shape);
  pooling.places = static_extents(places.shape);
  pooling.is_max = !node.is("avg_pool") && !node.is("avg_pool_bwd");
  pooling.type = type_name(places.dtype);
  const Ints& kernel = a.ints("kernel");
  for (std::size_t i = 0; i < kernel.size(); ++i) {
    pooling.window.push_back({kernel[i], a.ints("strides")[i], a.ints("pads")[i],
                              a.has("dilations") ? a.ints("dilations")[i] : 1, pooling.image[i + 2],
                              pooling.places[i + 2]});
  }
  return pooling;
}

/// Loops over all elements of a value, those with the largest strides of the leading stream
/// outermost and not merged: `order[i]` is the axis of loop i.
struct Elements {
  Loops loops;
  std::vector<std::size_t> order;
  int vector = 1;  ///< neighbouring channels that are moved at once

  /// "c2" for the axis.
  std::string position(std::size_t axis) const {
    const auto at = std::find(order.begin(), order.end(), axis);
    return fmt::format("c{}", at - order.begin());
  }
};

Elements elements_of(const std::vector<std::int64_t>& extents, std::vector<Stream> streams) {
  Elements elements;
  elements.order.resize(extents.size());
  std::iota(elements.order.begin(), elements.order.end(), std::size_t{0});
  const auto outer_first = [&](std::size_t axis) {  // an axis of one element has no stride
    return extents[axis] == 1 ? std::numeric_limits<std::int64_t>::max() : streams[0].strides[axis];
  };
  std::stable_sort(elements.order.begin(), elements.order.end(),
                   [&](std::size_t a, std::size_t b) { return outer_first(a) > outer_first(b); });
  for (const std::size_t axis : elements.order) elements.loops.extents.push_back(extents[axis]);
  for (const Stream& stream : streams) {
    elements.loops.streams.push_back({stream.dtype, {}});
    for (const std::size_t axis : elements.order) {
      elements.loops.streams.back().strides.push_back(stream.strides[axis]);
    }
  }
  const bool by_channels =
      elements.order.back() == 1 &&
      std::ranges::all_of(streams, [](const Stream& s) { return s.strides[1] == 1; });
  if (by_channels) elements.vector = vector_of(elements.loops);
  if (elements.loops.elements() > std::numeric_limits<std::int32_t>::max()) {
    throw failure(
        fmt::format("{} elements are too many for one pooling", elements.loops.elements()));
  }
  return elements;
}

Stream stream_of(const View& view) {
  return broadcast_stream(view, static_extents(view.type.shape));
}

/// The number of an element in the order of the loops, for a value of `extents`.
Stream numbers(const Elements& elements, const std::vector<std::int64_t>& extents) {
  Stream stream{DType::u8, std::vector<std::int64_t>(extents.size())};
  std::int64_t stride = 1;
  for (std::size_t i = elements.order.size(); i-- > 0;) {
    stream.strides[elements.order[i]] = stride;
    stride *= extents[elements.order[i]];
  }
  return stream;
}

/// The stream's offset where the spatial axis s stands at "{prefix}s", batch and channel where the
/// loops are.
std::string place_text(const Stream& stream, const Elements& elements, std::string_view prefix) {
  std::vector<std::string> terms;
  for (std::size_t axis = 0; axis < stream.strides.size(); ++axis) {
    if (stream.strides[axis] == 0) continue;
    const std::string at =
        axis < 2 ? elements.position(axis) : fmt::format("{}{}", prefix, axis - 2);
    terms.push_back(stream.strides[axis] == 1 ? at
                                              : fmt::format("{}LL * {}", stream.strides[axis], at));
  }
  return terms.empty() ? "0" : fmt::format("{}", fmt::join(terms, " + "));
}

/// A kernel with one thread for each vector of elements, up to the declaration of its position.
KernelSource open_kernel(std::string name, const Elements& elements,
                         const std::vector<std::string>& parameters,
                         std::vector<KernelArgument> arguments) {
  const std::int64_t units = elements.loops.elements() / elements.vector;
  KernelSource kernel{
      std::move(name), {}, kThreads, (units + kThreads - 1) / kThreads, std::move(arguments)};
  kernel.text = fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0}) {1}({2}) {{\n  constexpr int V = {3};\n"
      "  const int unit = blockIdx.x * {0} + threadIdx.x;\n  if (unit >= {4}) return;\n"
      "  const int first = unit * V;\n",
      kThreads, kernel.name, fmt::join(parameters, ", "), elements.vector, units);
  kernel.text += coordinates_text(elements.loops, "first");
  return kernel;
}

/// Loops over the taps k0, k1, ... of the window at this place; i0, i1, ... is where they stand.
std::string open_taps(const Pooling& pooling, const Elements& elements) {
  std::string text;
  for (std::size_t s = 0; s < pooling.window.size(); ++s) {
    const WindowAxis& axis = pooling.window[s];
    text += fmt::format("  for (int k{0} = 0; k{0} < {1}; ++k{0}) {{\n", s, axis.taps);
    text += fmt::format("  const int i{0} = {1} * {2} - {3} + k{0} * {4};\n", s,
                        elements.position(s + 2), axis.stride, axis.pad, axis.dilation);
    if (axis.reaches_out()) {
      text += fmt::format("  if (i{0} < 0 || i{0} >= {1}) continue;\n", s, axis.in);
    }
  }
  return text;
}

/// Loops over the taps through which this place of the image is seen; o0, o1, ... are the windows'.
std::string open_windows(const Pooling& pooling, const Elements& elements) {
  std::string text;
  for (std::size_t s = 0; s < pooling.window.size(); ++s) {
    const WindowAxis& axis = pooling.window[s];
    text += fmt::format("  for (int k{0} = 0; k{0} < {1}; ++k{0}) {{\n", s, axis.taps);
    text += fmt::format("  const int t{0} = {1} + {2} - k{0} * {3}, o{0} = t{0} / {4};\n", s,
                        elements.position(s + 2), axis.pad, axis.dilation, axis.stride);
    text += fmt::format("  if (t{0} < 0 || t{0} % {1} != 0 || o{0} >= {2}) continue;\n", s,
                        axis.stride, axis.out);
  }
  return text;
}

std::string close_all(const Pooling& pooling) {
  std::string text = "  ";
  for (std::size_t s = 0; s < pooling.window.size(); ++s) text += "}";
  return text + "\n";
}

/// "k0 * 3 + k1": the tap's number.
std::string tap_text(const Pooling& pooling) {
  std::string text = "k0";
  for (std::size_t s = 1; s < pooling.window.size(); ++s) {
    text = fmt::format("({}) * {} + k{}", text, pooling.window[s].taps, s);
  }
  return text;
}

std::string gap(const Stream& stream) {
  return stream.strides[1] == 1 ? "" : fmt::format(", {}", stream.strides[1]);
}

KernelSource forward_kernel(const Pooling& pooling, const View& x, const View& y) {
  const Stream from = stream_of(x);
  const Stream to = stream_of(y);
  const Elements elements = elements_of(pooling.places, {to, from});
  KernelSource kernel = open_kernel("facet_pool", elements,
                                    {fmt::format("const {}* __restrict__ p", pooling.type),
                                     fmt::format("{}* __restrict__ q", pooling.type)},
                                    {{Place::operand, 0}, {Place::result, 0}});
  std::string& text = kernel.text;
  text += fmt::format("  float y[V];\n  for (int v = 0; v < V; ++v) y[v] = {};\n",
                      pooling.is_max ? "facet::bits_to_float(0xff800000u)" : "0.0f");
  text += open_taps(pooling, elements);
  text += fmt::format("    float x[V];\n    facet::load(x, p + {}{});\n",
                      place_text(from, elements, "i"), gap(from));
  text += fmt::format("    for (int v = 0; v < V; ++v) y[v] = {};\n",
                      pooling.is_max ? "facet::maximum(y[v], x[v])" : "y[v] + x[v]");
  text += close_all(pooling);
  if (!pooling.is_max) {
    text += fmt::format("  for (int v = 0; v < V; ++v) y[v] /= {}.0f;\n", pooling.taps());
  }
  text += fmt::format("  facet::store(q + {}, y{});\n}}\n", offset_text(elements.loops.streams[0]),
                      gap(to));
  return kernel;
}

/// The first largest tap of each window, a byte each in the order of the loops over dy.
KernelSource winner_kernel(const Pooling& pooling, const Elements& elements, const View& x) {
  const Stream from = stream_of(x);
  KernelSource kernel =
      open_kernel("facet_pool_winners", elements,
                  {fmt::format("const {}* __restrict__ p", type_name(x.type.dtype)),
                   "unsigned char* __restrict__ winners"},
                  {{Place::operand, 1}, {Place::scratch, 0}});
  std::string& text = kernel.text;
  text += fmt::format(
      "  float best[V];\n  facet::Pack<unsigned char, V> winner;\n"
      "  for (int v = 0; v < V; ++v) winner.values[v] = {};\n",
      kMostTaps);
  text += open_taps(pooling, elements);
  text += fmt::format("    float x[V];\n    facet::load(x, p + {}{});\n",
                      place_text(from, elements, "i"), gap(from));
  text += fmt::format(
      "    for (int v = 0; v < V; ++v) {{\n"
      "      if (winner.values[v] != {0} && (best[v] != best[v] || x[v] <= best[v])) continue;\n"
      "      best[v] = x[v];\n      winner.values[v] = {1};\n    }}\n",
      kMostTaps, tap_text(pooling));
  text += close_all(pooling);
  text += "  *(facet::Pack<unsigned char, V>*)(winners + first) = winner;\n}\n";
  return kernel;
}

/// Each place of the image gathers from the windows that it is in. `winners` numbers the windows'
/// bytes, null for a mean.
KernelSource gather_kernel(const Pooling& pooling, const View& dy, const View& dx,
                           const Stream* winners) {
  const Stream from = stream_of(dy);
  const Stream to = stream_of(dx);
  Elements elements = elements_of(pooling.image, {to, from});
  if (winners != nullptr && winners->strides[1] != 1) elements.vector = 1;
  std::vector<std::string> parameters{fmt::format("const {}* __restrict__ p", pooling.type)};
  std::vector<KernelArgument> arguments{{Place::operand, 0}};
  if (winners != nullptr) {
    parameters.emplace_back("const unsigned char* __restrict__ winners");
    arguments.push_back({Place::scratch, 0});
  }
  parameters.push_back(fmt::format("{}* __restrict__ q", type_name(dx.type.dtype)));
  arguments.push_back({Place::result, 0});
  KernelSource kernel = open_kernel("facet_pool_bwd", elements, parameters, std::move(arguments));
  std::string& text = kernel.text;
  text += "  float dx[V] = {};\n";
  text += open_windows(pooling, elements);
  text += fmt::format("    float dy[V];\n    facet::load(dy, p + {}{});\n",
                      place_text(from, elements, "o"), gap(from));
  if (winners != nullptr) {
    text += fmt::format(
        "    const facet::Pack<unsigned char, V> winner = *(const facet::Pack<unsigned char, "
        "V>*)(winners + {});\n"
        "    for (int v = 0; v < V; ++v) dx[v] += winner.values[v] == {} ? dy[v] : 0.0f;\n",
        place_text(*winners, elements, "o"), tap_text(pooling));
  } else {
    text += "    for (int v = 0; v < V; ++v) dx[v] += dy[v];\n";
  }
  text += close_all(pooling);
  if (winners == nullptr) {
    text += fmt::format("  for (int v = 0; v < V; ++v) dx[v] /= {}.0f;\n", pooling.taps());
  }
  text += fmt::format("  facet::store(q + {}, dx{});\n}}\n", offset_text(elements.loops.streams[0]),
                      gap(to));
  return kernel;
}

}  // namespace

bool is_pooling(const Node& node) {
  return (node.is("max_pool") || node.is("avg_pool") || node.is("max_pool_dilated") ||
          node.is("max_pool_bwd") || node.is("avg_pool_bwd") || node.is("max_pool_dilated_bwd")) &&
         is_float(node.operand(0).dtype());
}

KernelSequence pooling_kernels(const Node& node, std::span<const View> operands,
                               std::span<const View> results) {
  if (!is_pooling(node)) throw failure(fmt::format("'{}' is no pooling of floats", node.kind()));
  if (node.is("max_pool") || node.is("avg_pool") || node.is("max_pool_dilated")) {
    const Pooling pooling = pooling_of(node, operands[0].type, results[0].type);
    return {{forward_kernel(pooling, operands[0], results[0])}, 0};
  }
  const Pooling pooling = pooling_of(node, results[0].type, operands[0].type);
  if (!pooling.is_max) {
    return {{gather_kernel(pooling, operands[0], results[0], nullptr)}, 0};
  }
  if (pooling.taps() > kMostTaps) {
    throw failure(fmt::format("'{}' takes windows of at most {} elements, not {}", node.kind(),
                              kMostTaps, pooling.taps()));
  }
  const Elements windows =
      elements_of(pooling.places, {stream_of(operands[0]), stream_of(operands[1])});
  const Stream winners = numbers(windows, pooling.places);
  KernelSequence sequence;
  sequence.kernels = {winner_kernel(pooling, windows, operands[1]),
                      gather_kernel(pooling, operands[0], results[0], &winners)};
  sequence.scratch_bytes = windows.loops.elements();
  return sequence;
}

}  // namespace facet::cuda
