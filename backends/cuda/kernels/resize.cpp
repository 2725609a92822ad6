#include "backends/cuda/kernels/resize.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/error.h"
#include "ir/resample.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;

struct ResizedAxis {
  std::size_t axis = 0;
  ResampleTable table;
};

/// From the operand's elements to those of the result.
std::vector<ResizedAxis> resized_axes(const Node& node, const std::vector<std::int64_t>& in,
                                      const std::vector<std::int64_t>& out) {
  const bool is_backward = node.is("resize_bwd");
  const Ints& sizes = node.attributes().ints("sizes");
  std::vector<ResizedAxis> axes;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) continue;
    ResampleTable table = is_backward
                              ? resample_table(node.attributes(), i, out[i], in[i]).transposed()
                              : resample_table(node.attributes(), i, in[i], out[i]);
    if (!table.is_identity()) axes.push_back({i, std::move(table)});
  }
  return axes;
}

std::string table_text(std::size_t number, const ResampleTable& table) {
  std::vector<std::string> weights;
  for (const double weight : table.weight) weights.push_back(float_literal(weight));
  if (weights.empty()) weights.emplace_back("0.0f");
  const std::string index =
      table.index.empty() ? "0" : fmt::format("{}", fmt::join(table.index, ", "));
  return fmt::format(
      "__device__ const int first_{0}[] = {{{1}}};\n__device__ const int index_{0}[] = {{{2}}};\n"
      "__device__ const float weight_{0}[] = {{{3}}};\n",
      number, fmt::join(table.first, ", "), index, fmt::join(weights, ", "));
}

}  // namespace

bool is_resize(const Node& node) {
  return (node.is("resize") || node.is("resize_bwd")) && is_float(node.operand(0).dtype());
}

KernelSequence resize_kernels(const Node& node, const View& operand, const View& result) {
  if (!is_resize(node)) throw failure(fmt::format("'{}' is no resize of floats", node.kind()));
  const std::vector<std::int64_t> in = static_extents(operand.type.shape);
  const std::vector<std::int64_t> out = static_extents(result.type.shape);
  if (operand.strides.size() != in.size() || result.strides.size() != out.size()) {
    throw failure(fmt::format("the GPU resizes plain layouts, not {}", to_string(operand.type)));
  }
  const std::vector<ResizedAxis> axes = resized_axes(node, in, out);
  // The operand moves along a resized axis by taps; a stream of its own counts the result's place.
  std::vector<Stream> streams{{operand.type.dtype, operand.strides},
                              {result.type.dtype, result.strides}};
  for (const ResizedAxis& one : axes) {
    streams[0].strides[one.axis] = 0;
    streams.push_back({DType::f32, std::vector<std::int64_t>(out.size(), 0)});
    streams.back().strides[one.axis] = 1;
  }
  std::vector<std::size_t> all(out.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  const Loops loops = loops_over(all, out, streams, 1);
  if (loops.elements() > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} is too large for one resize", to_string(result.type)));
  }
  std::int64_t vector =
      vector_of({loops.extents, {loops.streams.begin(), loops.streams.begin() + 2}});
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (loops.streams[2 + i].strides.back() != 0) vector = 1;
    vector = std::gcd(vector, operand.strides[axes[i].axis]);
  }
  const std::int64_t units = loops.elements() / vector;
  const Stream& x = loops.streams[0];
  const Stream& y = loops.streams[1];
  Parameters parameters;
  parameters.operand(0, type_name(x.dtype), "x");
  parameters.result(0, type_name(y.dtype), "y");
  KernelSource kernel =
      parameters.begin("facet_resize", kThreads, (units + kThreads - 1) / kThreads);
  std::string tables;
  std::string loop_text;
  std::string weight = "1.0f";
  std::string place = "x";
  std::string is_outside;
  std::string closing;
  const auto gap = [&](const Stream& stream) {
    return stream.strides.back() == 1 || vector == 1 ? ""
                                                     : fmt::format(", {}", stream.strides.back());
  };
  for (std::size_t i = 0; i < axes.size(); ++i) {
    tables += table_text(i, axes[i].table);
    loop_text += fmt::format("  const int o{0} = {1};\n", i, offset_text(loops.streams[2 + i]));
    weight = i == 0 ? "weight_0[i0]" : fmt::format("{0} * weight_{1}[i{1}]", weight, i);
    place += fmt::format(" + {}LL * index_{}[i{}]", operand.strides[axes[i].axis], i, i);
    is_outside += fmt::format("{0}first_{1}[o{1}] == first_{1}[o{1} + 1]", i == 0 ? "" : " || ", i);
  }
  for (std::size_t i = 0; i < axes.size(); ++i) {
    loop_text += fmt::format(
        "  for (int i{0} = first_{0}[o{0}]; i{0} < first_{0}[o{0} + 1]; ++i{0}) {{\n", i);
    closing += "  }\n";
  }
  std::string& text = kernel.text;
  text = tables + text;
  text += fmt::format(
      "  constexpr int V = {0};\n  const int unit = blockIdx.x * {1} + threadIdx.x;\n"
      "  if (unit >= {2}) return;\n  const int first = unit * V;\n{3}  x += {4};\n"
      "  float sum[V] = {{}};\n{5}    float v[V];\n    facet::load(v, {6}{7});\n"
      "    const float w = {8};\n    for (int i = 0; i < V; ++i) sum[i] += w * v[i];\n{9}",
      vector, kThreads, units, coordinates_text(loops, "first"), offset_text(x), loop_text, place,
      gap(x), weight, closing);
  const bool may_be_outside = std::ranges::any_of(axes, [](const ResizedAxis& one) {
    return std::ranges::adjacent_find(one.table.first) != one.table.first.end();
  });
  if (node.is("resize") && may_be_outside) {
    text += fmt::format("  if ({}) {{\n    for (int i = 0; i < V; ++i) sum[i] = {};\n  }}\n",
                        is_outside, float_literal(node.attributes().number("extrapolation")));
  }
  text += fmt::format("  facet::store(y + {}, sum{});\n}}\n", offset_text(y), gap(y));
  return {{std::move(kernel)}, 0};
}

}  // namespace facet::cuda
