#include "backends/cuda/kernels/prelu.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
/// Blocks that keep an H200's 132 multiprocessors busy.
constexpr std::int64_t kWantedBlocks = 1024;

/// Adds up the parts [parts, channels] of the slope's gradient: a warp for each channel, or one
/// block where all channels share a slope and each part is one number.
KernelSource sum_kernel(std::int64_t parts, std::int64_t channels, const View& slope,
                        bool is_shared) {
  Parameters parameters;
  parameters.result(1, type_name(slope.type.dtype), "dslope");
  parameters.scratch();
  KernelSource kernel = parameters.begin(
      "facet_prelu_slope", kThreads, is_shared ? 1 : (channels * kWarp + kThreads - 1) / kThreads);
  if (is_shared) {
    kernel.text += fmt::format(
        "  float sum = 0.0f;\n"
        "#pragma unroll 4\n  for (int i = threadIdx.x; i < {}; i += {}) sum += scratch[i];\n"
        "  sum = facet::block_sum<{}>(sum);\n"
        "  if (threadIdx.x == 0) facet::from_float(sum, *dslope);\n}}\n",
        parts, kThreads, kThreads / kWarp);
    return kernel;
  }
  kernel.text += fmt::format(
      "  const int channel = (blockIdx.x * {} + threadIdx.x) / {};\n"
      "  const int lane = threadIdx.x % facet::kLanes;\n  if (channel >= {}) return;\n"
      "  float sum = 0.0f;\n#pragma unroll 4\n"
      "  for (int i = lane; i < {}; i += facet::kLanes) sum += scratch[{} * i + channel];\n"
      "  sum = facet::warp_sum(sum);\n"
      "  if (lane == 0) facet::from_float(sum, dslope[{}channel]);\n}}\n",
      kThreads, kWarp, channels, parts, channels,
      slope.strides[0] == 1 ? "" : fmt::format("{}LL * ", slope.strides[0]));
  return kernel;
}

}  // namespace

bool is_prelu_bwd(const Node& node) {
  return node.is("prelu_bwd") && is_float(node.operand(0).dtype());
}

KernelSequence prelu_bwd_kernels(const Node& node, std::span<const View> operands,
                                 std::span<const View> results) {
  if (!is_prelu_bwd(node)) throw failure(fmt::format("'{}' is no prelu_bwd", node.kind()));
  const std::vector<std::int64_t> extents = static_extents(results[0].type.shape);
  const std::array<Stream, 3> streams{broadcast_stream(operands[0], extents),
                                      broadcast_stream(operands[1], extents),
                                      broadcast_stream(results[0], extents)};
  const std::size_t axis = extents.size() > 1 ? 1 : 0;
  std::vector<std::size_t> others;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (i != axis) others.push_back(i);
  }
  const std::vector<std::size_t> one{axis};
  const Loops channel = loops_over(one, extents, streams, 2);
  const Loops pixels = loops_over(others, extents, streams, 2);
  const std::int64_t channels = extents[axis];
  const std::int64_t count = pixels.elements();
  if (channels * count > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} is too large for one prelu_bwd", to_string(results[0].type)));
  }
  std::int64_t vector = 1;
  const bool is_last = std::ranges::all_of(
      channel.streams, [](const Stream& stream) { return stream.strides.back() == 1; });
  if (is_last) {
    vector = aligned_vector(channel, pixels);
    for (const Stream& stream : pixels.streams) {
      for (const std::int64_t stride : stream.strides) vector = std::gcd(vector, stride);
    }
  }
  // A block: so many vectors of channels side by side, and rows of pixels under each other.
  const std::int64_t across = std::min<std::int64_t>(channels / vector, kThreads);
  const std::int64_t rows = kThreads / across;
  const std::int64_t slices = (channels / vector + across - 1) / across;
  const std::int64_t parts =
      std::clamp<std::int64_t>(kWantedBlocks / slices, 1, (count + 4 * rows - 1) / (4 * rows));
  const std::int64_t chunk = (count + parts - 1) / parts;
  Parameters parameters;
  // The memory plan may put dx over dy.
  parameters.operand(0, type_name(streams[0].dtype), "dy", false);
  parameters.operand(1, type_name(streams[1].dtype), "x", false);
  parameters.operand(2, type_name(operands[2].type.dtype), "slope");
  parameters.result(0, type_name(streams[2].dtype), "dx");
  parameters.scratch();
  KernelSource kernel = parameters.begin("facet_prelu_bwd", kThreads, parts * slices);
  std::string& text = kernel.text;
  const auto place = [&](std::size_t stream) {
    const std::int64_t stride = channel.streams[stream].strides.back();
    return stride == 1 ? std::string("channel") : fmt::format("{}LL * channel", stride);
  };
  const std::int64_t slope = operands[2].type.shape == Shape{1} ? 0 : operands[2].strides[0];
  text += fmt::format(
      "  constexpr int V = {0};\n  __shared__ float all[{1}][{2}];\n"
      "  const int part = blockIdx.x / {3};\n"
      "  const int column = threadIdx.x % {4} * V;\n  const int row = threadIdx.x / {4};\n"
      "  const int channel = blockIdx.x % {3} * {2} + column;\n"
      "  const int end = {5} * (part + 1) < {6} ? {5} * (part + 1) : {6};\n"
      "  float sum[V] = {{}};\n  if (row < {1} && channel < {7}) {{\n    float s[V];\n"
      "    for (int i = 0; i < V; ++i) s[i] = facet::to_float(slope[{8}LL * (channel + i)]);\n"
      "    for (int e = {5} * part + row; e < end; e += {1}) {{\n{9}"
      "      float d[V], v[V];\n      facet::load(d, dy + {10} + {11});\n"
      "      facet::load(v, x + {12} + {13});\n      for (int i = 0; i < V; ++i) {{\n"
      "        if (v[i] > 0.0f) continue;\n        sum[i] += d[i] * v[i];\n        d[i] *= s[i];\n"
      "      }}\n      facet::store(dx + {14} + {15}, d);\n    }}\n  }}\n",
      vector, rows, across * vector, slices, across, chunk, count, channels, slope,
      coordinates_text(pixels, "e"), offset_text(pixels.streams[0]), place(0),
      offset_text(pixels.streams[1]), place(1), offset_text(pixels.streams[2]), place(2));
  // Of a slope that all channels share a block leaves one number.
  const bool is_shared = results[1].type.shape == Shape{1} && channels > 1;
  text += fmt::format(
      "  if (row < {0}) {{\n    for (int i = 0; i < V; ++i) all[row][column + i] = sum[i];\n  }}\n"
      "  __syncthreads();\n{5}  for (int c = threadIdx.x; c < {1}; c += {2}) {{\n"
      "    const int to = blockIdx.x % {3} * {1} + c;\n    if (to >= {4}) continue;\n"
      "    float total = all[0][c];\n    for (int r = 1; r < {0}; ++r) total += all[r][c];\n"
      "    {6} total;\n  }}\n",
      rows, across * vector, kThreads, slices, channels, is_shared ? "  float whole = 0.0f;\n" : "",
      is_shared ? "whole +=" : fmt::format("scratch[{} * part + to] =", channels));
  if (is_shared) {
    text += fmt::format(
        "  whole = facet::block_sum<{}>(whole);\n"
        "  if (threadIdx.x == 0) scratch[blockIdx.x] = whole;\n",
        kThreads / kWarp);
  }
  text += "}\n";
  const std::int64_t left = is_shared ? parts * slices : parts;
  KernelSequence sequence;
  sequence.kernels = {std::move(kernel), sum_kernel(left, channels, results[1], is_shared)};
  sequence.scratch_bytes = left * (is_shared ? 1 : channels) * size_of(DType::f32);
  return sequence;
}

}  // namespace facet::cuda
