#include "backends/cuda/kernels/reduce_max.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

/// dy along the axes of x: 0 along those that are reduced.
Stream spread(const Node& node, const View& dy, std::size_t rank) {
  Stream stream{dy.type.dtype, std::vector<std::int64_t>(rank, 0)};
  std::vector<std::int64_t> axes = node.attributes().ints("axes");
  for (std::int64_t& axis : axes) axis += axis < 0 ? static_cast<std::int64_t>(rank) : 0;
  const bool is_kept = dy.strides.size() == rank;
  std::size_t at = 0;
  for (std::size_t i = 0; i < rank; ++i) {
    const bool is_reduced = std::ranges::count(axes, static_cast<std::int64_t>(i)) > 0;
    if (!is_reduced) stream.strides[i] = dy.strides.at(at);
    at += is_kept || !is_reduced ? 1 : 0;
  }
  return stream;
}

void require_row_major(const View& view) {
  if (view.strides.size() == view.type.shape.size() &&
      std::ranges::is_sorted(view.strides, std::greater<>())) {
    return;
  }
  throw failure(
      fmt::format("the GPU looks for the first largest element in row-major values, not {}",
                  to_string(view.type)));
}

}  // namespace

bool is_reduce_max_bwd(const Node& node) {
  return node.is("reduce_max_bwd") && is_float(node.operand(1).dtype());
}

KernelSequence reduce_max_bwd_kernels(const Node& node, std::span<const View> operands,
                                      const View& result) {
  if (!is_reduce_max_bwd(node)) {
    throw failure(fmt::format("'{}' is no gradient of a maximum", node.kind()));
  }
  for (const View* view : {&operands[1], &result}) require_row_major(*view);
  const std::vector<std::int64_t> extents = static_extents(result.type.shape);
  const std::array<Stream, 3> streams{Stream{operands[1].type.dtype, operands[1].strides},
                                      Stream{result.type.dtype, result.strides},
                                      spread(node, operands[0], extents.size())};
  std::vector<std::size_t> kept, reduced;
  std::vector<std::int64_t> axes = node.attributes().ints("axes");
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const bool is_reduced = std::ranges::any_of(axes, [&](std::int64_t axis) {
      return axis == static_cast<std::int64_t>(i) ||
             axis + static_cast<std::int64_t>(extents.size()) == static_cast<std::int64_t>(i);
    });
    (is_reduced ? reduced : kept).push_back(i);
  }
  const Loops results = loops_over(kept, extents, streams, 0);
  const Loops along = loops_over(reduced, extents, std::span(streams).first(2), 0);
  const std::int64_t count = results.elements();
  const std::int64_t each = along.elements();
  const bool by_warp = along.streams[0].strides.back() == 1 && each >= kWarp;
  if (std::max(count * each, count * kWarp) > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} is too large for one kernel", to_string(result.type)));
  }
  Parameters parameters;
  parameters.operand(0, type_name(operands[0].type.dtype), "dy");
  parameters.operand(1, type_name(operands[1].type.dtype), "x");
  parameters.result(0, type_name(result.type.dtype), "dx");
  const std::int64_t threads = by_warp ? count * kWarp : count;
  KernelSource kernel =
      parameters.begin("facet_reduce_max_bwd", kThreads, (threads + kThreads - 1) / kThreads);
  std::string& text = kernel.text;
  text += fmt::format(
      "  const int thread = blockIdx.x * {} + threadIdx.x;\n"
      "  const int lane = {};\n  const int unit = thread / {};\n  if (unit >= {}) return;\n",
      kThreads, by_warp ? "thread % facet::kLanes" : "0", by_warp ? kWarp : 1, count);
  text += coordinates_text(results, "unit");
  text += fmt::format("  x += {};\n  dx += {};\n  dy += {};\n", offset_text(results.streams[0]),
                      offset_text(results.streams[1]), offset_text(results.streams[2]));
  const auto loop = [&](std::string_view body) {
    return fmt::format("  for (int e = lane; e < {}; e += {}) {{\n{}{}  }}\n", each,
                       by_warp ? kWarp : 1, coordinates_text(along, "e"), body);
  };
  text += "  float most = 0.0f;\n  int at = -1;\n";
  text += loop(fmt::format(
      "  const float v = facet::to_float(x[{}]);\n"
      "    if (at >= 0 && (most != most || v <= most)) continue;\n    most = v;\n    at = e;\n",
      offset_text(along.streams[0])));
  if (by_warp) {
    text +=
        "  for (int distance = 1; distance < facet::kLanes; distance *= 2) {\n"
        "    const float v = facet::exchange(most, distance);\n"
        "    const int e = facet::float_to_bits(facet::exchange(facet::bits_to_float(at), "
        "distance));\n"
        "    const bool is_larger = most != most ? v != v && e < at : v == most ? e < at : !(v <= "
        "most);\n"
        "    if (!is_larger) continue;\n    most = v;\n    at = e;\n  }\n";
  }
  text += "  const float d = facet::to_float(*dy);\n";
  text += loop(fmt::format("  facet::from_float(e == at ? d : 0.0f, dx[{}]);\n",
                           offset_text(along.streams[1])));
  text += "}\n";
  return {{std::move(kernel)}, 0};
}

}  // namespace facet::cuda
