#include "backends/cuda/kernels/reduction.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr std::int64_t kThreads = 256;
constexpr std::int64_t kWarp = 32;
/// Four on each of an H200's 132 multiprocessors: with 16 bytes on the way for each of their
/// threads they keep its memory busy, and all are there at once.
constexpr std::int64_t kWantedBlocks = 528;
/// A thread adds up as many vectors at least before its sum goes to other threads.
constexpr std::int64_t kLeastSteps = 8;
/// Side by side that a block reads, where there is more to add up than to tell apart.
constexpr std::int64_t kLeastRowBytes = 128;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

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

/// The work of a kernel: blocks for slices of the results, each for one part of what is reduced.
struct Shares {
  std::int64_t slices = 1;
  std::int64_t parts = 1;
  std::int64_t chunk = 0;  ///< elements of a part that become one

  Shares(std::int64_t slice_count, std::int64_t count, std::int64_t least_chunk, bool in_parts)
      : slices(slice_count) {
    const std::int64_t most = std::max<std::int64_t>(count / least_chunk, 1);
    if (in_parts) parts = std::clamp<std::int64_t>(kWantedBlocks / slices, 1, most);
    chunk = ceil_div(count, parts);
  }
  /// Afterwards parts begin at multiples of so many elements.
  void round_chunk(std::int64_t to, std::int64_t count) {
    chunk = ceil_div(chunk, to) * to;
    parts = ceil_div(count, chunk);
  }
};

/// Writes the kernels of a reduction, of which each leaves f32 sums [parts, results] in `to` unless
/// there is one part: then it finishes them.
class ReductionWriter {
 public:
  ReductionWriter(const Reduction& reduction, bool in_parts)
      : reduction_(reduction),
        results_(reduction.results.elements()),
        along_rows_(runs_along_rows()),
        vector_(along_rows_ ? aligned_vector(reduction.reduced, reduction.results)
                            : aligned_vector(reduction.results, reduction.reduced)),
        shares_(along_rows_ ? row_shares(in_parts) : column_shares(in_parts)) {}

  std::int64_t parts() const { return shares_.parts; }
  KernelSource kernel() const { return along_rows_ ? row_kernel() : column_kernel(); }

 private:
  const Stream& x() const { return reduction_.results.streams[0]; }
  const Stream& y() const { return reduction_.results.streams[1]; }
  std::int64_t count() const { return reduction_.reduced.elements(); }

  /// What is reduced lies side by side, and there are numbers enough for so many warps.
  bool runs_along_rows() const {
    return reduction_.reduced.streams[0].strides.back() == 1 &&
           results_ * kWarp <= std::numeric_limits<std::int32_t>::max();
  }
  Shares row_shares(bool in_parts);
  Shares column_shares(bool in_parts);
  KernelSource begin(std::int64_t threads, std::int64_t blocks) const;
  std::string loop(std::string_view first, std::int64_t step, std::string_view add,
                   std::string_view stride) const;
  std::string store(std::string_view sum, std::string_view first) const;
  KernelSource row_kernel() const;
  KernelSource column_kernel() const;

  const Reduction& reduction_;
  std::int64_t results_ = 0;
  bool along_rows_ = false;
  std::int64_t vector_ = 1;
  std::int64_t group_ = kWarp;  ///< rows: threads that share a result
  std::int64_t across_ = 1;     ///< columns: threads of a block side by side,
  std::int64_t rows_ = 1;       ///< and under each other
  Shares shares_;
};

/// A warp for each result; a block, or several, where there are few results of many elements.
Shares ReductionWriter::row_shares(bool in_parts) {
  const std::int64_t least = kLeastSteps * vector_;
  if (results_ * kWarp < kWantedBlocks * kThreads && count() >= 2 * kWarp * least)
    group_ = kThreads;
  Shares shares(ceil_div(results_ * group_, kThreads), count(), kThreads * least,
                in_parts && group_ == kThreads);
  shares.round_chunk(vector_, count());
  return shares;
}

/// Threads of a block have neighbouring results each and share what is reduced.
Shares ReductionWriter::column_shares(bool in_parts) {
  const std::int64_t units = results_ / vector_;
  const std::int64_t narrow =
      std::min(units, std::max<std::int64_t>(kLeastRowBytes / (vector_ * size_of(x().dtype)), 1));
  const std::int64_t most = std::max<std::int64_t>(count() / kLeastSteps, 1);
  rows_ = static_cast<std::int64_t>(
      std::bit_floor(static_cast<std::uint64_t>(std::min(kThreads / narrow, most))));
  across_ = std::min(units, kThreads / rows_);
  Shares shares(ceil_div(units, across_), count(), rows_ * kLeastSteps, in_parts);
  shares.round_chunk(1, count());
  return shares;
}

KernelSource ReductionWriter::begin(std::int64_t threads, std::int64_t blocks) const {
  const std::string_view to = parts() > 1 ? "float" : type_name(y().dtype);
  KernelSource kernel{
      "facet_reduce", {}, static_cast<int>(threads), blocks, {reduction_.from, reduction_.to}};
  kernel.text = fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({}) {}(const {}* __restrict__ p, "
      "{}* __restrict__ q) {{\n  constexpr int V = {};\n",
      threads, kernel.name, type_name(x().dtype), to, vector_);
  return kernel;
}

/// The loop over the part's elements from `first` on, of which `add` takes x[0..V-1].
std::string ReductionWriter::loop(std::string_view first, std::int64_t step, std::string_view add,
                                  std::string_view stride) const {
  std::string start(first);
  std::string end = fmt::format("{}", count());
  std::string text;
  if (parts() > 1) {
    start = fmt::format("{} * part + {}", shares_.chunk, first);
    end = "end";
    text = fmt::format("  const int end = {0} * (part + 1) < {1} ? {0} * (part + 1) : {1};\n",
                       shares_.chunk, count());
  }
  return text +
         fmt::format("#pragma unroll 4\n  for (int r = {}; r < {}; r += {}) {{\n", start, end,
                     step) +
         coordinates_text(reduction_.reduced, "r") +
         fmt::format(
             "    float x[V];\n    facet::load(x, p + {}{});\n"
             "    for (int i = 0; i < V; ++i) {};\n  }}\n",
             offset_text(reduction_.reduced.streams[0]), stride, add);
}

/// Stores the sum of result number `first`, whose coordinates are defined.
std::string ReductionWriter::store(std::string_view sum, std::string_view first) const {
  if (parts() > 1) return fmt::format("q[{}LL * part + {}] = {};\n", results_, first, sum);
  return fmt::format("facet::from_float({}, q[{}]);\n", reduction_.finish(sum), offset_text(y()));
}

KernelSource ReductionWriter::row_kernel() const {
  const bool is_block = group_ == kThreads;
  KernelSource kernel = begin(kThreads, shares_.slices * parts());
  std::string& text = kernel.text;
  if (is_block) {
    text += fmt::format("  const int unit = blockIdx.x / {};\n  const int lane = threadIdx.x;\n",
                        parts());
    if (parts() > 1) text += fmt::format("  const int part = blockIdx.x % {};\n", parts());
  } else {
    text += fmt::format(
        "  const int unit = (blockIdx.x * {} + threadIdx.x) / {};\n"
        "  const int lane = threadIdx.x % facet::kLanes;\n  if (unit >= {}) return;\n",
        kThreads, kWarp, results_);
  }
  text += coordinates_text(reduction_.results, "unit");
  text += fmt::format("  p += {};\n  float sum = {};\n", offset_text(x()), reduction_.start());
  text += loop("lane * V", group_ * vector_, "sum = " + reduction_.combine("sum", "x[i]"), "");
  const std::string_view what = reduction_.is_max() ? "maximum" : "sum";
  text += is_block ? fmt::format("  sum = facet::block_{}<{}>(sum);\n", what, kThreads / kWarp)
                   : fmt::format("  sum = facet::warp_{}(sum);\n", what);
  text += "  if (lane == 0) " + store("sum", "unit") + "}\n";
  return kernel;
}

KernelSource ReductionWriter::column_kernel() const {
  KernelSource kernel = begin(across_ * rows_, shares_.slices * parts());
  std::string& text = kernel.text;
  const auto gap = [](const Stream& stream) {
    return stream.strides.back() == 1 ? "" : fmt::format(", {}", stream.strides.back());
  };
  if (parts() > 1) text += fmt::format("  const int part = blockIdx.x / {};\n", shares_.slices);
  text += fmt::format(
      "  const int slice = blockIdx.x % {0};\n  const int column = threadIdx.x % {1} * V;\n"
      "  const int row = threadIdx.x / {1};\n  const int first = slice * {2} + column;\n"
      "  float sum[V];\n  for (int i = 0; i < V; ++i) sum[i] = {3};\n  if (first < {4}) {{\n",
      shares_.slices, across_, across_ * vector_, reduction_.start(), results_);
  text += coordinates_text(reduction_.results, "first");
  text += fmt::format("  p += {};\n", offset_text(x()));
  text += loop("row", rows_, "sum[i] = " + reduction_.combine("sum[i]", "x[i]"), gap(x()));
  if (rows_ == 1) {
    if (parts() > 1) {
      text += fmt::format("  facet::store(q + {}LL * part + first, sum);\n  }}\n}}\n", results_);
      return kernel;
    }
    text +=
        fmt::format("  for (int i = 0; i < V; ++i) sum[i] = {};\n", reduction_.finish("sum[i]"));
    text += fmt::format("  facet::store(q + {}, sum{});\n  }}\n}}\n", offset_text(y()), gap(y()));
    return kernel;
  }
  text += fmt::format(
      "  }}\n  __shared__ float all[{0}][{1}];\n"
      "  for (int i = 0; i < V; ++i) all[row][column + i] = sum[i];\n  __syncthreads();\n"
      "  for (int c = threadIdx.x; c < {1}; c += {2}) {{\n"
      "    const int to = slice * {1} + c;\n    if (to >= {3}) break;\n"
      "    float total = all[0][c];\n#pragma unroll\n"
      "    for (int i = 1; i < {0}; ++i) total = {4};\n",
      rows_, across_ * vector_, kernel.threads, results_, reduction_.combine("total", "all[i][c]"));
  if (parts() == 1) text += coordinates_text(reduction_.results, "to");
  text += "    " + store("total", "to") + "  }\n}\n";
  return kernel;
}

/// The reduction of the sums [parts, results] that a first kernel left.
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
  Reduction first = reduction;
  first.to = {KernelArgument::Place::scratch, 0};
  const ReductionWriter in_parts(first, true);
  const std::int64_t parts = in_parts.parts();
  if (parts == 1) return {{ReductionWriter(reduction, false).kernel()}, 0};
  const Reduction second = parts_of(reduction, parts);
  return {{in_parts.kernel(), ReductionWriter(second, false).kernel()},
          parts * results * size_of(DType::f32)};
}

KernelSequence reduction_kernels(const Node& node, const View& operand, const View& result) {
  if (!is_reduction(node))
    throw failure(fmt::format("'{}' is no reduction of floats", node.kind()));
  return reduction_kernels(node.kind(), node.attributes().ints("axes"), operand, 0, result, 0);
}

}  // namespace facet::cuda
