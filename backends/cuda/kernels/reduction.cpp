#include "backends/cuda/kernels/reduction.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
/// Threads that keep an H200's 132 multiprocessors busy: the reduced axis is cut until there are as
/// many.
constexpr std::int64_t kWantedThreads = 1 << 16;
/// The second kernel adds them one by one.
constexpr std::int64_t kMostParts = 256;

/// One reduction: the loops over its results (streams: x, y) and those over what is reduced (x).
struct Reduction {
  std::string_view kind;
  Loops results;
  Loops reduced;
  std::int64_t count = 0;  ///< elements that become one
  KernelArgument from;
  KernelArgument to;

  bool is_max() const { return kind == "reduce_max"; }
  std::string combine(std::string_view a, std::string_view b) const {
    return is_max() ? fmt::format("facet::maximum({}, {})", a, b) : fmt::format("{} + {}", a, b);
  }
  std::string start() const { return is_max() ? "facet::bits_to_float(0xff800000u)" : "0.0f"; }
  /// What becomes of the whole sum.
  std::string finish(std::string_view sum) const {
    if (kind != "reduce_mean") return std::string(sum);
    return fmt::format("{} / {}.0f", sum, count);
  }
};

std::string signature(const KernelSource& kernel, std::string_view from, std::string_view to) {
  return fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({}) {}(const {}* __restrict__ p, "
      "{}* __restrict__ q) {{\n",
      kThreads, kernel.name, from, to);
}

/// Opens loops over all reduced axes but the innermost and, if it is `cut`, the outermost.
std::string open_loops(const Loops& loops, bool with_innermost, bool cut) {
  std::string text;
  const std::size_t count = loops.extents.size() - (with_innermost ? 0 : 1);
  for (std::size_t i = cut ? 1 : 0; i < count; ++i) {
    text += fmt::format("  for (int r{0} = 0; r{0} < {1}; ++r{0}) {{\n", i, loops.extents[i]);
  }
  return text;
}

std::string close_loops(const Loops& loops, bool with_innermost, bool cut) {
  const std::size_t count = loops.extents.size() - (with_innermost ? 0 : 1);
  std::string text;
  for (std::size_t i = cut ? 1 : 0; i < count; ++i) text += "  }\n";
  return text;
}

/// A warp for each result, its lanes along the innermost reduced axis.
KernelSource warp_kernel(const Reduction& reduction) {
  const Loops& reduced = reduction.reduced;
  const int vector = aligned_vector(reduced, reduction.results);
  const std::int64_t results = reduction.results.elements();
  const Stream& x = reduction.results.streams[0];
  const Stream& y = reduction.results.streams[1];
  KernelSource kernel{"facet_reduce",
                      {},
                      kThreads,
                      (results * kWarp + kThreads - 1) / kThreads,
                      {reduction.from, reduction.to}};
  std::string& text = kernel.text;
  text = signature(kernel, type_name(x.dtype), type_name(y.dtype));
  text += fmt::format("  constexpr int V = {};\n", vector);
  text += fmt::format(
      "  const int unit = (blockIdx.x * {0} + threadIdx.x) / {1};\n"
      "  const int lane = threadIdx.x % facet::kLanes;\n  if (unit >= {2}) return;\n",
      kThreads, kWarp, results);
  text += coordinates_text(reduction.results, "unit");
  text += fmt::format("  p += {};\n  float sum = {};\n", offset_text(x), reduction.start());
  text += open_loops(reduced, false, false);
  const std::size_t last = reduced.extents.size() - 1;
  text += fmt::format("  for (int r{0} = lane * V; r{0} < {1}; r{0} += facet::kLanes * V) {{\n",
                      last, reduced.extents[last]);
  text += fmt::format(
      "    float x[V];\n    facet::load(x, p + {});\n"
      "    for (int i = 0; i < V; ++i) sum = {};\n  }}\n",
      offset_text(reduced.streams[0], "r"), reduction.combine("sum", "x[i]"));
  text += close_loops(reduced, false, false);
  text +=
      fmt::format("  sum = facet::{}(sum);\n", reduction.is_max() ? "warp_maximum" : "warp_sum");
  text += fmt::format("  if (lane == 0) facet::from_float({}, q[{}]);\n}}\n",
                      reduction.finish("sum"), offset_text(y));
  return kernel;
}

/// A thread for neighbouring results and one part of the outermost reduced axis. With several parts
/// it leaves f32 sums [parts, results] in `to`, else it finishes them.
KernelSource thread_kernel(const Reduction& reduction, std::int64_t parts) {
  const Loops& reduced = reduction.reduced;
  const int vector = aligned_vector(reduction.results, reduced);
  const std::int64_t results = reduction.results.elements();
  const std::int64_t units = results / vector * parts;
  const std::int64_t chunk = (reduced.extents[0] + parts - 1) / parts;
  const Stream& x = reduction.results.streams[0];
  const Stream& y = reduction.results.streams[1];
  KernelSource kernel{"facet_reduce",
                      {},
                      kThreads,
                      (units + kThreads - 1) / kThreads,
                      {reduction.from, reduction.to}};
  std::string& text = kernel.text;
  text = signature(kernel, type_name(x.dtype), parts > 1 ? "float" : type_name(y.dtype));
  text += fmt::format(
      "  constexpr int V = {};\n  const int unit = blockIdx.x * {} + threadIdx.x;\n"
      "  if (unit >= {}) return;\n",
      vector, kThreads, units);
  text += fmt::format("  const int part = unit / {0};\n  const int first = unit % {0} * V;\n",
                      results / vector);
  text += coordinates_text(reduction.results, "first");
  text += fmt::format("  p += {};\n  float sum[V];\n  for (int i = 0; i < V; ++i) sum[i] = {};\n",
                      offset_text(x), reduction.start());
  text += fmt::format("  const int end = {0} * (part + 1) < {1} ? {0} * (part + 1) : {1};\n", chunk,
                      reduced.extents[0]);
  text += fmt::format("  for (int r0 = {} * part; r0 < end; ++r0) {{\n", chunk);
  text += open_loops(reduced, true, true);
  const std::string stride = x.strides.back() == 1 ? "" : fmt::format(", {}", x.strides.back());
  text += fmt::format(
      "    float x[V];\n    facet::load(x, p + {}{});\n"
      "    for (int i = 0; i < V; ++i) sum[i] = {};\n  }}\n",
      offset_text(reduced.streams[0], "r"), stride, reduction.combine("sum[i]", "x[i]"));
  text += close_loops(reduced, true, true);
  if (parts > 1) {
    text += fmt::format("  facet::store(q + {}LL * part + first, sum);\n}}\n", results);
    return kernel;
  }
  text += fmt::format("  for (int i = 0; i < V; ++i) sum[i] = {};\n", reduction.finish("sum[i]"));
  const std::string gap = y.strides.back() == 1 ? "" : fmt::format(", {}", y.strides.back());
  text += fmt::format("  facet::store(q + {}, sum{});\n}}\n", offset_text(y), gap);
  return kernel;
}

/// The reduction of the sums [parts, results] that `thread_kernel` left.
Reduction parts_of(const Reduction& reduction, std::int64_t parts) {
  Reduction second = reduction;
  second.from = {KernelArgument::Place::scratch, 0};
  Stream& x = second.results.streams[0];
  x.dtype = DType::f32;
  std::int64_t stride = 1;
  for (std::size_t i = x.strides.size(); i-- > 0;) {
    x.strides[i] = stride;
    stride *= second.results.extents[i];
  }
  second.reduced.extents = {parts};
  second.reduced.streams = {{DType::f32, {reduction.results.elements()}}};
  return second;
}

std::vector<std::int64_t> normalized(std::vector<std::int64_t> axes, std::int64_t rank) {
  for (std::int64_t& axis : axes) axis += axis < 0 ? rank : 0;
  return axes;
}

}  // namespace

bool is_reduction(const Node& node) {
  return (node.is("reduce_sum") || node.is("reduce_mean") || node.is("reduce_max")) &&
         is_float(node.operand(0).dtype());
}

KernelSequence reduction_kernels(std::string_view kind, const std::vector<std::int64_t>& axes,
                                 const View& operand, int operand_index, const View& result,
                                 int result_index) {
  const std::vector<std::int64_t> extents = static_extents(operand.type.shape);
  const std::vector<std::int64_t> result_extents = static_extents(result.type.shape);
  const std::vector<std::int64_t> reduced_axes =
      normalized(axes, static_cast<std::int64_t>(extents.size()));
  Stream x = broadcast_stream(operand, extents);
  Stream y{result.type.dtype, std::vector<std::int64_t>(extents.size(), 0)};
  if (result.strides.size() != result_extents.size()) {
    throw failure(fmt::format("the GPU writes plain layouts, not {}", to_string(result.type)));
  }
  std::vector<std::size_t> reduced;
  std::vector<std::size_t> left;
  std::size_t at = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const bool is_reduced = std::ranges::count(reduced_axes, static_cast<std::int64_t>(i)) > 0;
    (is_reduced ? reduced : left).push_back(i);
    const bool is_kept = result_extents.size() == extents.size();
    if (!is_reduced) y.strides[i] = result.strides.at(at);
    at += is_kept || !is_reduced ? 1 : 0;
  }
  const std::vector<Stream> both{x, y};
  Reduction reduction{kind,
                      loops_over(left, extents, both, 0),
                      loops_over(reduced, extents, std::span(&x, 1), 0),
                      0,
                      {KernelArgument::Place::operand, operand_index},
                      {KernelArgument::Place::result, result_index}};
  const std::int64_t results = reduction.results.elements();
  reduction.count = reduction.reduced.elements();
  if (reduction.count < 2)
    throw failure(fmt::format("'{}' over axes of one element is a copy", kind));
  if (results * reduction.count > std::numeric_limits<std::int32_t>::max()) {
    throw failure(
        fmt::format("{} elements are too many for one reduction", results * reduction.count));
  }
  // Threads have numbers of 32 bits.
  const bool has_warps = results * kWarp <= std::numeric_limits<std::int32_t>::max();
  if (has_warps && reduction.reduced.streams[0].strides.back() == 1) {
    return {{warp_kernel(reduction)}, 0};
  }
  const std::int64_t threads = results / aligned_vector(reduction.results, reduction.reduced);
  const std::int64_t parts = std::clamp<std::int64_t>(
      kWantedThreads / threads, 1, std::min(reduction.reduced.extents[0], kMostParts));
  if (parts == 1) return {{thread_kernel(reduction, 1)}, 0};
  Reduction first = reduction;
  first.to = {KernelArgument::Place::scratch, 0};
  KernelSequence sequence;
  sequence.kernels = {thread_kernel(first, parts), thread_kernel(parts_of(reduction, parts), 1)};
  sequence.scratch_bytes = parts * results * size_of(DType::f32);
  return sequence;
}

KernelSequence reduction_kernels(const Node& node, const View& operand, const View& result) {
  if (!is_reduction(node))
    throw failure(fmt::format("'{}' is no reduction of floats", node.kind()));
  return reduction_kernels(node.kind(), node.attributes().ints("axes"), operand, 0, result, 0);
}

}  // namespace facet::cuda
