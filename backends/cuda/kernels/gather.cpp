#include "backends/cuda/kernels/gather.h"

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

std::string_view index_name(DType dtype) { return dtype == DType::i64 ? "long long" : "int"; }

/// The axis that indices count along, of the value that is gathered from or scattered to.
std::size_t axis_of(const Node& node, std::size_t rank) {
  const std::int64_t axis = node.attributes().integer("axis");
  return static_cast<std::size_t>(axis < 0 ? axis + static_cast<std::int64_t>(rank) : axis);
}

std::vector<std::size_t> all_axes(std::size_t count) {
  std::vector<std::size_t> axes(count);
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  return axes;
}

void require_size(std::int64_t elements) {
  if (elements <= std::numeric_limits<std::int32_t>::max()) return;
  throw failure(fmt::format("{} elements are too many for one gather", elements));
}

/// A thread for neighbours of the result.
KernelSource gather_kernel(const Node& node, const View& x, const View& indices,
                           const View& result) {
  const std::vector<std::int64_t> extents = static_extents(result.type.shape);
  const std::size_t axis = axis_of(node, x.strides.size());
  const std::size_t named = node.is("gather") ? indices.strides.size() : 1;
  Stream from{x.type.dtype, std::vector<std::int64_t>(extents.size(), 0)};
  Stream index{indices.type.dtype, std::vector<std::int64_t>(extents.size(), 0)};
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const bool is_named = i >= axis && i < axis + named;
    if (!is_named) from.strides[i] = x.strides[i < axis ? i : i + 1 - named];
    if (node.is("gather") && is_named) index.strides[i] = indices.strides[i - axis];
    if (!node.is("gather")) index.strides[i] = indices.strides[i];
  }
  const std::array<Stream, 3> streams{from, {result.type.dtype, result.strides}, index};
  const Loops loops = loops_over(all_axes(extents.size()), extents, streams, 1);
  require_size(loops.elements());
  const Stream& p = loops.streams[0];
  const Stream& q = loops.streams[1];
  const std::int64_t step = x.strides[axis];
  std::int64_t vector = 1;
  if (p.strides.back() == 1 && q.strides.back() == 1 && loops.streams[2].strides.back() == 0) {
    vector = std::gcd(std::int64_t{vector_of(
                          {loops.extents, {loops.streams.begin(), loops.streams.begin() + 2}})},
                      step);
  }
  const std::int64_t units = loops.elements() / vector;
  const std::string type = fmt::format("facet::Pack<{}, {}>", bits_name(p.dtype), vector);
  Parameters parameters;
  parameters.operand(0, bits_name(p.dtype), "p");
  parameters.operand(1, index_name(indices.type.dtype), "indices");
  parameters.result(0, bits_name(p.dtype), "q");
  KernelSource kernel =
      parameters.begin("facet_gather", kThreads, (units + kThreads - 1) / kThreads);
  kernel.text += fmt::format(
      "  const int unit = blockIdx.x * {0} + threadIdx.x;\n  if (unit >= {1}) return;\n"
      "  const int first = unit * {2};\n{3}  long long index = indices[{4}];\n"
      "  if (index < 0) index += {5};\n  {6} x = {{}};\n"
      "  if (index >= 0 && index < {5}) x = *(const {6}*)(p + {7} + {8}LL * index);\n"
      "  *({6}*)(q + {9}) = x;\n}}\n",
      kThreads, units, vector, coordinates_text(loops, "first"), offset_text(loops.streams[2]),
      static_extents(x.type.shape)[axis], type, offset_text(p), step, offset_text(q));
  return kernel;
}

/// A thread for an element of the result, which looks for its index among all.
KernelSource scatter_kernel(const Node& node, const View& x, const View& indices,
                            const View& result) {
  const std::vector<std::int64_t> extents = static_extents(result.type.shape);
  const std::vector<std::int64_t> from = static_extents(x.type.shape);
  const std::size_t axis = axis_of(node, extents.size());
  const std::size_t named = indices.strides.size();
  Stream along{x.type.dtype, std::vector<std::int64_t>(extents.size(), 0)};
  Stream number{DType::f32, std::vector<std::int64_t>(extents.size(), 0)};
  number.strides[axis] = 1;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (i != axis) along.strides[i] = x.strides[i < axis ? i : i + named - 1];
  }
  const std::array<Stream, 3> streams{along, {result.type.dtype, result.strides}, number};
  const Loops loops = loops_over(all_axes(extents.size()), extents, streams, 1);
  const auto at = static_cast<std::ptrdiff_t>(axis);
  const auto end = at + static_cast<std::ptrdiff_t>(named);
  const std::vector<std::int64_t> places(from.begin() + at, from.begin() + end);
  const std::array<Stream, 2> read{
      Stream{x.type.dtype, {x.strides.begin() + at, x.strides.begin() + end}},
      Stream{indices.type.dtype, indices.strides}};
  const Loops entries = loops_over(all_axes(named), places, read, 1);
  require_size(std::max(loops.elements(), entries.elements()));
  Parameters parameters;
  parameters.operand(0, type_name(x.type.dtype), "x");
  parameters.operand(1, index_name(indices.type.dtype), "indices");
  parameters.result(0, type_name(result.type.dtype), "y");
  KernelSource kernel =
      parameters.begin("facet_scatter_add", kThreads, (loops.elements() + kThreads - 1) / kThreads);
  kernel.text += fmt::format(
      "  const int first = blockIdx.x * {0} + threadIdx.x;\n  if (first >= {1}) return;\n{2}"
      "  const int wanted = {3};\n  x += {4};\n  y += {5};\n  float sum = 0.0f;\n"
      "  for (int e = 0; e < {6}; ++e) {{\n{7}    long long index = indices[{8}];\n"
      "    if (index < 0) index += {9};\n    if (index == wanted) sum += "
      "facet::to_float(x[{10}]);\n"
      "  }}\n  facet::from_float(sum, *y);\n}}\n",
      kThreads, loops.elements(), coordinates_text(loops, "first"), offset_text(loops.streams[2]),
      offset_text(loops.streams[0]), offset_text(loops.streams[1]), entries.elements(),
      coordinates_text(entries, "e"), offset_text(entries.streams[1]), extents[axis],
      offset_text(entries.streams[0]));
  return kernel;
}

}  // namespace

bool is_gather(const Node& node) {
  if (node.is("scatter_add")) return is_float(node.operand(0).dtype());
  return node.is("gather") || node.is("gather_elements");
}

KernelSequence gather_kernels(const Node& node, std::span<const View> operands,
                              const View& result) {
  if (!is_gather(node)) throw failure(fmt::format("'{}' is no gather", node.kind()));
  for (const View* view : {&operands[0], &operands[1], &result}) {
    if (view->strides.size() == view->type.shape.size()) continue;
    throw failure(fmt::format("the GPU gathers plain layouts, not {}", to_string(view->type)));
  }
  if (node.is("scatter_add")) {
    return {{scatter_kernel(node, operands[0], operands[1], result)}, 0};
  }
  return {{gather_kernel(node, operands[0], operands[1], result)}, 0};
}

}  // namespace facet::cuda
