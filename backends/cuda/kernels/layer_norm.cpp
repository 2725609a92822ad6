#include "backends/cuda/kernels/layer_norm.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

}  // namespace

bool is_layer_norm(const Node& node) {
  return node.is("layer_norm") && is_float(node.operand(0).dtype());
}

KernelSequence layer_norm_kernels(const Node& node, std::span<const View> operands,
                                  const View& result) {
  if (!is_layer_norm(node)) throw failure(fmt::format("'{}' is no layer_norm", node.kind()));
  const std::vector<std::int64_t> extents = static_extents(result.type.shape);
  std::int64_t first = node.attributes().integer("axis");
  first += first < 0 ? static_cast<std::int64_t>(extents.size()) : 0;
  std::vector<std::size_t> outer(static_cast<std::size_t>(first));
  std::vector<std::size_t> inner(extents.size() - outer.size());
  std::iota(outer.begin(), outer.end(), std::size_t{0});
  std::iota(inner.begin(), inner.end(), outer.size());
  std::vector<Stream> streams;
  for (const View& view : operands) streams.push_back(broadcast_stream(view, extents));
  streams.push_back(broadcast_stream(result, extents));
  const Loops rows = loops_over(outer, extents, streams, streams.size() - 1);
  const Loops row = loops_over(inner, extents, streams, streams.size() - 1);
  const bool is_one_run =
      row.extents.size() == 1 &&
      std::ranges::all_of(row.streams, [](const Stream& stream) { return stream.strides[0] == 1; });
  if (!is_one_run) {
    throw failure(fmt::format("the GPU normalises rows that are side by side, not {}",
                              to_string(result.type)));
  }
  const std::int64_t columns = row.extents[0];
  const std::int64_t count = rows.elements();
  if (count * kWarp > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} rows are too many for one layer_norm", count));
  }
  std::int64_t vector = vector_of({row.extents, {row.streams.front(), row.streams.back()}});
  for (const Stream* stream : {&rows.streams.front(), &rows.streams.back()}) {
    for (const std::int64_t stride : stream->strides) vector = std::gcd(vector, stride);
  }
  Parameters parameters;
  // The memory plan may put the result over x.
  parameters.operand(0, type_name(streams[0].dtype), "x", false);
  if (operands.size() > 1) parameters.operand(1, type_name(streams[1].dtype), "scale");
  if (operands.size() > 2) parameters.operand(2, type_name(streams[2].dtype), "bias");
  parameters.result(0, type_name(streams.back().dtype), "y");
  KernelSource kernel =
      parameters.begin("facet_layer_norm", kThreads, (count * kWarp + kThreads - 1) / kThreads);
  std::string& text = kernel.text;
  text += fmt::format(
      "  constexpr int V = {0};\n  const int unit = (blockIdx.x * {1} + threadIdx.x) / {2};\n"
      "  const int lane = threadIdx.x % facet::kLanes;\n  if (unit >= {3}) return;\n{4}"
      "  x += {5};\n  y += {6};\n  float v[V];\n",
      vector, kThreads, kWarp, count, coordinates_text(rows, "unit"), offset_text(rows.streams[0]),
      offset_text(rows.streams.back()));
  const auto along = [&](std::string_view body) {
    return fmt::format(
        "  for (int c = lane * V; c < {}; c += facet::kLanes * V) {{\n    facet::load(v, x + c);\n"
        "{}  }}\n",
        columns, body);
  };
  text += "  float sum = 0.0f;\n" + along("    for (int i = 0; i < V; ++i) sum += v[i];\n");
  text +=
      fmt::format("  const float mean = facet::warp_sum(sum) / {}.0f;\n  sum = 0.0f;\n", columns);
  text += along("    for (int i = 0; i < V; ++i) sum += (v[i] - mean) * (v[i] - mean);\n");
  text += fmt::format("  const float inverse = facet::rsqrt(facet::warp_sum(sum) / {}.0f + {});\n",
                      columns, float_literal(node.attributes().number("epsilon")));
  std::string body;
  if (operands.size() > 1) body += "    float s[V];\n    facet::load(s, scale + c);\n";
  if (operands.size() > 2) body += "    float b[V];\n    facet::load(b, bias + c);\n";
  body += fmt::format(
      "    for (int i = 0; i < V; ++i) v[i] = (v[i] - mean) * inverse{}{};\n"
      "    facet::store(y + c, v);\n",
      operands.size() > 1 ? " * s[i]" : "", operands.size() > 2 ? " + b[i]" : "");
  text += along(body) + "}\n";
  return {{std::move(kernel)}, 0};
}

}  // namespace facet::cuda
