#include "backends/cuda/kernels/softmax.h"

#include <fmt/format.h>

#include <limits>

#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

/// A loop along the row; `body` is for one element, whose place is `r`.
std::string along_row(std::int64_t extent, bool by_warp, std::string_view body) {
  return by_warp ? fmt::format("  for (int r = lane; r < {}; r += facet::kLanes) {{\n{}  }}\n",
                               extent, body)
                 : fmt::format("  for (int r = 0; r < {}; ++r) {{\n{}  }}\n", extent, body);
}

std::string element(std::size_t operand, std::int64_t stride) {
  return stride == 1 ? fmt::format("facet::to_float(p{}[r])", operand)
                     : fmt::format("facet::to_float(p{}[{}LL * r])", operand, stride);
}

std::string store(std::int64_t stride, std::string_view value) {
  return stride == 1 ? fmt::format("    facet::from_float({}, q[r]);\n", value)
                     : fmt::format("    facet::from_float({}, q[{}LL * r]);\n", value, stride);
}

/// Over the warp, where there is one.
std::string combined(bool by_warp, std::string_view function, std::string_view value) {
  return by_warp ? fmt::format("  {0} = facet::{1}({0});\n", value, function) : "";
}

}  // namespace

KernelSource softmax_kernel(const Node& node, std::span<const View> operands, const View& result) {
  const bool backward = node.is("softmax_bwd");
  if (!backward && !node.is("softmax"))
    throw failure(fmt::format("'{}' is no softmax", node.kind()));
  const std::vector<std::int64_t> extents = static_extents(result.type.shape);
  std::int64_t axis = node.attributes().integer("axis");
  axis += axis < 0 ? static_cast<std::int64_t>(extents.size()) : 0;
  const auto along = static_cast<std::size_t>(axis);
  std::vector<Stream> streams;
  for (const View& view : operands) streams.push_back(broadcast_stream(view, extents));
  streams.push_back(broadcast_stream(result, extents));
  std::vector<std::size_t> others;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (i != along) others.push_back(i);
  }
  const Loops rows = loops_over(others, extents, streams, streams.size() - 1);
  const std::int64_t count = rows.elements();
  if (count * kWarp > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} rows are too many for one softmax", count));
  }
  bool by_warp = true;
  for (const Stream& stream : streams) by_warp = by_warp && stream.strides[along] == 1;
  const std::int64_t threads = by_warp ? count * kWarp : count;

  KernelSource kernel{"facet_softmax", {}, kThreads, (threads + kThreads - 1) / kThreads, {}};
  std::string& text = kernel.text;
  std::string parameters;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    parameters += fmt::format("const {}* p{}, ", type_name(streams[i].dtype), i);
    kernel.arguments.push_back({KernelArgument::Place::operand, static_cast<int>(i)});
  }
  kernel.arguments.push_back({KernelArgument::Place::result, 0});
  text = fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}({}{}* q) {{\n",
                     kThreads, kernel.name, parameters, type_name(streams.back().dtype));
  const std::string thread = fmt::format("blockIdx.x * {} + threadIdx.x", kThreads);
  text += by_warp ? fmt::format(
                        "  const int row = ({}) / {};\n"
                        "  const int lane = threadIdx.x % facet::kLanes;\n",
                        thread, kWarp)
                  : fmt::format("  const int row = {};\n", thread);
  text += fmt::format("  if (row >= {}) return;\n", count) + coordinates_text(rows, "row");
  for (std::size_t i = 0; i < operands.size(); ++i) {
    text += fmt::format("  p{} += {};\n", i, offset_text(rows.streams[i]));
  }
  text += fmt::format("  q += {};\n", offset_text(rows.streams.back()));
  const std::int64_t extent = extents[along];
  const auto value = [&](std::size_t i) { return element(i, streams[i].strides[along]); };
  const std::int64_t to = streams.back().strides[along];
  text += "  float sum = 0.0f;\n";
  if (backward) {  // y * (dy - sum(dy * y))
    text += along_row(extent, by_warp, fmt::format("    sum += {} * {};\n", value(0), value(1)));
    text += combined(by_warp, "warp_sum", "sum");
    text +=
        along_row(extent, by_warp, store(to, fmt::format("{} * ({} - sum)", value(1), value(0))));
  } else {
    text += "  float most = facet::bits_to_float(0xff800000u);\n";
    text +=
        along_row(extent, by_warp, fmt::format("    most = facet::maximum(most, {});\n", value(0)));
    text += combined(by_warp, "warp_maximum", "most");
    text +=
        along_row(extent, by_warp, fmt::format("    sum += facet::exp({} - most);\n", value(0)));
    text += combined(by_warp, "warp_sum", "sum");
    text +=
        along_row(extent, by_warp, store(to, fmt::format("facet::exp({} - most) / sum", value(0))));
  }
  text += "}\n";
  return kernel;
}

}  // namespace facet::cuda
