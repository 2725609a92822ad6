#include "backends/cuda/kernels/dropout.h"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;

}  // namespace

bool is_dropout(const Node& node) { return node.is("dropout_train"); }

KernelSequence dropout_kernels(const Node& node, std::span<const View> operands,
                               const View& result) {
  if (!is_dropout(node)) throw failure(fmt::format("'{}' is no dropout", node.kind()));
  const std::vector<std::int64_t> extents = static_extents(result.type.shape);
  Type row_major{DType::f32, result.type.shape, {}};
  const std::array<Stream, 3> streams{broadcast_stream(operands[0], extents),
                                      broadcast_stream(result, extents),
                                      Stream{DType::f32, dense_strides(row_major)}};
  std::vector<std::size_t> axes(extents.size());
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  const Loops loops = loops_over(axes, extents, streams, 1);
  const int vector = vector_of({loops.extents, {loops.streams.begin(), loops.streams.begin() + 2}});
  const std::int64_t units = loops.elements() / vector;
  if (loops.elements() > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} is too large for one kernel", to_string(result.type)));
  }
  const Stream& x = loops.streams[0];
  const Stream& y = loops.streams[1];
  const Stream& number = loops.streams[2];
  const double rate = node.attributes().number("rate");
  Parameters parameters;
  // The memory plan may put the result over x.
  parameters.operand(0, type_name(x.dtype), "x", false);
  parameters.operand(1, type_name(operands[1].type.dtype), "step");
  parameters.result(0, type_name(y.dtype), "y");
  KernelSource kernel =
      parameters.begin("facet_dropout", kThreads, (units + kThreads - 1) / kThreads);
  const auto gap = [](const Stream& stream) {
    return stream.strides.back() == 1 ? "" : fmt::format(", {}", stream.strides.back());
  };
  kernel.text += fmt::format(
      "  constexpr int V = {0};\n  const int unit = blockIdx.x * {1} + threadIdx.x;\n"
      "  if (unit >= {2}) return;\n  const int first = unit * V;\n{3}"
      "  const unsigned long long base = facet::mix(facet::mix({4}ull) + "
      "(unsigned long long)facet::to_float(*step));\n"
      "  float v[V];\n  facet::load(v, x + {5}{6});\n"
      "  for (int i = 0; i < V; ++i) {{\n"
      "    const unsigned long long number = {7} + {8}LL * i;\n"
      "    v[i] = facet::mix(base + number) >> 40 >= {9}ull ? v[i] * {10} : 0.0f;\n  }}\n"
      "  facet::store(y + {11}, v{12});\n}}\n",
      vector, kThreads, units, coordinates_text(loops, "first"),
      static_cast<std::uint64_t>(node.attributes().integer("seed")), offset_text(x), gap(x),
      offset_text(number), number.strides.back(), static_cast<std::uint64_t>(rate * 16777216),
      float_literal(1 / (1 - rate)), offset_text(y), gap(y));
  return {{std::move(kernel)}, 0};
}

}  // namespace facet::cuda
