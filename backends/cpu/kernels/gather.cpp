#include "backends/cpu/kernels/gather.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"

namespace facet::cpu {
namespace {

using Strides = std::vector<std::int64_t>;

/// Columns that one unit of a scatter_add sums.
constexpr std::int64_t kColumns = 64;
/// Elements that are copied at once at most.
constexpr std::int64_t kRun = 8192;
alignas(8) constexpr std::byte kZero[8]{};

/// Indices of an axis of `extent`.
struct Indices {
  DType dtype = DType::i64;
  std::int64_t extent = 0;

  /// The place along the axis that the index at `offset` names, or -1.
  std::int64_t place(const std::byte* base, std::int64_t offset) const {
    std::int64_t index = 0;
    if (dtype == DType::i64) {
      std::memcpy(&index, base + offset * 8, 8);
    } else {
      std::int32_t narrow = 0;
      std::memcpy(&narrow, base + offset * 4, 4);
      index = narrow;
    }
    if (index < 0) index += extent;
    return index >= 0 && index < extent ? index : -1;
  }
};

/// Strides along the axes of the wider of the two values, in which the axes of the indices take the
/// place of the indexed axis: `narrow` is the view of the value with the indexed axis, which is
/// then walked by place, not by loop.
struct Axes {
  std::vector<std::int64_t> extents;
  Strides wide, narrow, indices;
  std::int64_t step = 0;  ///< of the narrow value along the indexed axis

  Axes(const View& wide_view, const View& narrow_view, const View& index_view, std::size_t axis)
      : extents(static_extents(wide_view.type.shape)),
        wide(wide_view.strides),
        narrow(narrow_view.strides),
        indices(extents.size(), 0),
        step(narrow_view.strides[axis]) {
    const auto at = static_cast<std::ptrdiff_t>(axis);
    narrow.erase(narrow.begin() + at);
    narrow.insert(narrow.begin() + at, index_view.strides.size(), 0);
    std::copy(index_view.strides.begin(), index_view.strides.end(), indices.begin() + at);
  }
};

struct GatherPlan {
  DType dtype = DType::f32;
  Indices indices;
  Loops loops;  ///< over y, x and the indices; the innermost one counts runs
  std::int64_t run_length = 1, piece = 1;
  std::int64_t y_step = 0, x_step = 0, index_step = 0;  ///< along the run
  std::int64_t place_step = 0;                          ///< of x along the indexed axis
  std::int64_t elements = 0;

  std::string implementation() const { return "gather"; }
  std::size_t scratch_bytes() const { return 0; }

  void run(const Addresses& a) const {
    parallel_for(loops.elements(), elements, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t pieces = loops.extents.back();
      std::int64_t unit = begin;
      for_each_position(loops, begin, end, [&](const Strides& at) {
        const std::int64_t first = unit++ % pieces * piece;
        copy(a, at, std::min(piece, run_length - first));
      });
    });
  }

  void copy(const Addresses& a, const Strides& at, std::int64_t count) const {
    const std::int64_t size = size_of(dtype);
    // One index for the whole run, or one an element.
    const std::int64_t together = index_step == 0 ? count : 1;
    for (std::int64_t i = 0; i < count; i += together) {
      const std::int64_t place = indices.place(a.operands[1], at[2] + i * index_step);
      std::byte* const y = a.results[0] + (at[0] + i * y_step) * size;
      if (place < 0) {
        convert(dtype, kZero, 0, dtype, y, y_step, together);
        continue;
      }
      const std::int64_t x = at[1] + i * x_step + place * place_step;
      convert(dtype, a.operands[0] + x * size, x_step, dtype, y, y_step, together);
    }
  }
};

GatherPlan plan_gather(const Node& node, std::span<const View> operands, const View& y) {
  const auto axis =
      static_cast<std::size_t>(node.attributes().integer("axis") < 0
                                   ? node.attributes().integer("axis") + operands[0].type.rank()
                                   : node.attributes().integer("axis"));
  const Axes axes(y, operands[0], operands[1], axis);
  GatherPlan plan;
  plan.dtype = y.type.dtype;
  plan.indices = {operands[1].type.dtype, operands[0].type.shape[axis].factor};
  plan.place_step = axes.step;
  plan.loops = collapse(axes.extents, {axes.wide, axes.narrow, axes.indices}, 0);
  plan.elements = plan.loops.elements();
  Loops& loops = plan.loops;
  plan.run_length = loops.extents.back();
  plan.piece = std::min(plan.run_length, kRun);
  plan.y_step = loops.strides[0].back();
  plan.x_step = loops.strides[1].back();
  plan.index_step = loops.strides[2].back();
  loops.extents.back() = (plan.run_length + plan.piece - 1) / plan.piece;
  for (Strides& strides : loops.strides) strides.back() *= plan.piece;
  return plan;
}

/// Every unit of work owns its columns of y and walks all indices, so nothing is added twice at
/// once.
struct ScatterAddPlan {
  Indices indices;
  Loops columns;  ///< over y and x, without the axes of the indices; the innermost counts pieces
  Loops rows;     ///< over x and the indices
  std::int64_t width = 1, y_step = 0, x_step = 0;  ///< of the innermost loop of the columns
  std::int64_t place_step = 0;                     ///< of y along the indexed axis
  std::int64_t elements = 0;

  std::string implementation() const { return "scatter_add"; }
  std::size_t scratch_bytes() const { return 0; }

  void run(const Addresses& a) const {
    const auto* x = reinterpret_cast<const float*>(a.operands[0]);
    auto* y = reinterpret_cast<float*>(a.results[0]);
    parallel_for(columns.elements(), elements, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t pieces = columns.extents.back();
      std::int64_t unit = begin;
      for_each_position(columns, begin, end, [&](const Strides& at) {
        const std::int64_t first = unit++ % pieces * kColumns;
        sum(a.operands[1], x + at[1], y + at[0], std::min(kColumns, width - first));
      });
    });
  }

  void sum(const std::byte* index, const float* x, float* y, std::int64_t count) const {
    for (std::int64_t place = 0; place < indices.extent; ++place) {
      for (std::int64_t i = 0; i < count; ++i) y[place * place_step + i * y_step] = 0;
    }
    for_each_position(rows, 0, rows.elements(), [&](const Strides& at) {
      const std::int64_t place = indices.place(index, at[1]);
      if (place < 0) return;
      float* const to = y + place * place_step;
      const float* const from = x + at[0];
      for (std::int64_t i = 0; i < count; ++i) to[i * y_step] += from[i * x_step];
    });
  }
};

ScatterAddPlan plan_scatter_add(const Node& node, std::span<const View> operands, const View& y) {
  const auto axis = static_cast<std::size_t>(node.attributes().integer("axis"));
  const std::size_t depth = operands[1].strides.size();
  const Axes axes(operands[0], y, operands[1], axis);
  std::vector<std::int64_t> free = axes.extents, walked = axes.extents;
  for (std::size_t i = 0; i < free.size(); ++i) {
    (i >= axis && i < axis + depth ? free : walked)[i] = 1;
  }
  ScatterAddPlan plan;
  plan.indices = {operands[1].type.dtype, y.type.shape[axis].factor};
  plan.place_step = axes.step;
  plan.rows = collapse(walked, {axes.wide, axes.indices}, 1);
  plan.columns = collapse(free, {axes.narrow, axes.wide}, 0);
  plan.elements = plan.columns.elements() * (plan.rows.elements() + plan.indices.extent);
  Loops& loops = plan.columns;
  plan.width = loops.extents.back();
  plan.y_step = loops.strides[0].back();
  plan.x_step = loops.strides[1].back();
  loops.extents.back() = (plan.width + kColumns - 1) / kColumns;
  for (Strides& strides : loops.strides) strides.back() *= kColumns;
  return plan;
}

}  // namespace

bool takes_gather(const Node& node) {
  if (node.is("gather")) return true;
  return node.is("scatter_add") && node.operand(0).dtype() == DType::f32;
}

std::unique_ptr<Kernel> lower_gather(const Node& node, std::span<const View> operands,
                                     std::span<const View> results) {
  check_unblocked(node, operands, results);
  if (node.is("gather")) return make_kernel(plan_gather(node, operands, results[0]));
  return make_kernel(plan_scatter_add(node, operands, results[0]));
}

}  // namespace facet::cpu
