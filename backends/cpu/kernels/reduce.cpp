#include <algorithm>
#include <limits>
#include <string>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"

namespace facet::cpu {
namespace {

/// Results computed together at most: their sums stay in the first-level cache.
constexpr std::int64_t kColumns = 256;
/// With fewer tiles of results than this tiles shrink, and at last the reduced range is split, so
/// that all threads have work. All of it depends on shapes alone: results are the same on any
/// number of threads.
constexpr std::int64_t kFewUnits = 16;
/// Elements of a part of a split range, parts at most, and the least a part has of the split loop.
constexpr std::int64_t kPartElements = 8 * 1024;
constexpr std::int64_t kMostParts = 64;
constexpr std::int64_t kPartExtent = 16;

/// Elements of a result, side by side, that are too few for a call of their own.
constexpr std::int64_t kMostBeside = 8;

struct Range {
  std::int64_t begin = 0, end = 0;
};

/// The innermost kept loop is cut into tiles of `tile` results. Where x is contiguous along it a
/// tile is folded row by row; where x has a few elements of each result side by side, and the next
/// result's behind them, all of a tile at once; otherwise each of its results is folded along the
/// innermost reduced loop.
struct ReducePlan {
  Fold fold = Fold::sum;
  Float from = Float::f32;
  Float to = Float::f32;
  float factor = 1;  ///< of the result: 1 / count for a mean
  Loops kept;        ///< views x and y; the innermost loop counts tiles
  Loops reduced;     ///< view x
  std::int64_t columns = 1, x_column = 0, y_column = 0;  ///< the loop that the tiles cut
  std::int64_t tile = 1, tiles = 1, units = 1;
  std::size_t split = 0;  ///< the reduced loop that parts cut
  std::int64_t parts = 1;
  std::int64_t elements = 0;

  std::string implementation() const { return std::string("reduce:") + vector_loops().name; }
  std::size_t scratch_bytes() const {
    return parts == 1 ? 0 : static_cast<std::size_t>(units * parts * width_of(0)) * sizeof(float);
  }
  bool by_rows() const { return x_column == 1; }
  bool side_by_side() const {
    return x_column <= kMostBeside && reduced.strides[0].back() == 1 &&
           reduced.extents.back() == x_column;
  }
  std::int64_t width_of(std::int64_t unit) const {
    return std::min(tile, columns - unit % tiles * tile);
  }

  float start() const {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    return fold == Fold::sum ? 0 : fold == Fold::max ? -kInfinity : kInfinity;
  }
  float combine(float a, float b) const {
    if (fold == Fold::sum) return a + b;
    return (fold == Fold::max ? a > b : a < b) || a != a ? a : b;
  }

  /// Folds `width` results at x over the whole range, the split loop over `range` only.
  void fold_range(const std::byte* x, Range range, std::int64_t width, float* sum) const {
    bool fresh = true;
    fold_loop(0, x + range.begin * reduced.strides[0][split] * size_of(from), range, width, sum,
              fresh);
  }

  std::int64_t extent(std::size_t d, Range range) const {
    return d == split ? range.end - range.begin : reduced.extents[d];
  }

  /// The two innermost loops run inside the vector loops, the ones around them here.
  void fold_loop(std::size_t d, const std::byte* x, Range range, std::int64_t width, float* sum,
                 bool& fresh) const {
    const std::vector<std::int64_t>& strides = reduced.strides[0];
    if (d + 2 < reduced.depth()) {
      for (std::int64_t i = 0; i < extent(d, range); ++i) {
        fold_loop(d + 1, x + i * strides[d] * size_of(from), range, width, sum, fresh);
      }
      return;
    }
    const std::int64_t count[2] = {extent(d, range), extent(d + 1, range)};
    const std::int64_t stride[2] = {strides[d], strides[d + 1]};
    if (fresh) {
      fresh = false;
      return fold_plane(x, count, stride, width, sum);
    }
    float more[kColumns];
    fold_plane(x, count, stride, width, more);
    for (std::int64_t c = 0; c < width; ++c) sum[c] = combine(sum[c], more[c]);
  }

  void fold_plane(const std::byte* x, const std::int64_t count[2], const std::int64_t stride[2],
                  std::int64_t width, float* sum) const {
    if (by_rows()) {
      const VectorLoops& loops = vector_loops();
      return loops.fold_rows[static_cast<int>(fold)][static_cast<int>(from)](x, count, stride,
                                                                             width, sum);
    }
    if (side_by_side()) {
      float more[kColumns];
      for (std::int64_t i = 0; i < count[0]; ++i) {
        vector_loops().fold_side[static_cast<int>(fold)][static_cast<int>(from)](
            x + i * stride[0] * size_of(from), count[1], width, i == 0 ? sum : more);
        for (std::int64_t c = 0; i > 0 && c < width; ++c) sum[c] = combine(sum[c], more[c]);
      }
      return;
    }
    for (std::int64_t c = 0; c < width; ++c) {
      const std::byte* const column = x + c * x_column * size_of(from);
      sum[c] = fold_line(column, count[1], stride[1]);
      for (std::int64_t i = 1; i < count[0]; ++i) {
        const std::byte* const line = column + i * stride[0] * size_of(from);
        sum[c] = combine(sum[c], fold_line(line, count[1], stride[1]));
      }
    }
  }

  float fold_line(const std::byte* x, std::int64_t n, std::int64_t stride) const {
    const FoldRun* runs = vector_loops().fold_run[static_cast<int>(fold)];
    if (stride == 1) return runs[static_cast<int>(from)](x, n);
    float sum = start();
    float line[kColumns];
    for (std::int64_t i = 0; i < n; i += kColumns) {
      const std::int64_t count = std::min(kColumns, n - i);
      load_floats(from, x + i * stride * size_of(from), stride, line, count);
      sum = combine(sum, runs[static_cast<int>(Float::f32)](line, count));
    }
    return sum;
  }

  void finish(float* sum, std::int64_t width, std::byte* y) const {
    if (factor != 1) {
      for (std::int64_t c = 0; c < width; ++c) sum[c] *= factor;
    }
    store_floats(to, sum, y, y_column, width);
  }

  void run(const Addresses& addresses) const {
    const std::byte* const x = addresses.operands[0];
    std::byte* const y = addresses.results[0];
    if (parts > 1) return run_in_parts(x, y, reinterpret_cast<float*>(addresses.scratch));
    parallel_for(units, elements, [&](std::int64_t begin, std::int64_t end) {
      float sum[kColumns];
      std::int64_t unit = begin;
      for_each_position(kept, begin, end, [&](const std::vector<std::int64_t>& at) {
        const std::int64_t width = width_of(unit++);
        fold_range(x + at[0] * size_of(from), {0, reduced.extents[split]}, width, sum);
        finish(sum, width, y + at[1] * size_of(to));
      });
    });
  }

  void run_in_parts(const std::byte* x, std::byte* y, float* partial) const {
    const std::int64_t stride = width_of(0);
    parallel_for(units * parts, elements, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t job = begin; job < end; ++job) {
        const std::int64_t unit = job / parts;
        const std::int64_t part = job % parts;
        const std::int64_t extent = reduced.extents[split];
        for_each_position(kept, unit, unit + 1, [&](const std::vector<std::int64_t>& at) {
          fold_range(x + at[0] * size_of(from),
                     {extent * part / parts, extent * (part + 1) / parts}, width_of(unit),
                     partial + job * stride);
        });
      }
    });
    std::int64_t unit = 0;
    for_each_position(kept, 0, units, [&](const std::vector<std::int64_t>& at) {
      const std::int64_t width = width_of(unit);
      float* const sum = partial + unit * parts * stride;
      for (std::int64_t part = 1; part < parts; ++part) {
        for (std::int64_t c = 0; c < width; ++c) {
          sum[c] = combine(sum[c], sum[part * stride + c]);
        }
      }
      finish(sum, width, y + at[1] * size_of(to));
      ++unit;
    });
  }
};

/// Which axes of x are reduced.
std::vector<bool> reduced_axes(const Node& node, std::size_t rank) {
  std::vector<bool> reduced(rank, false);
  for (const std::int64_t axis : node.attributes().ints("axes")) {
    reduced[static_cast<std::size_t>(axis < 0 ? axis + static_cast<std::int64_t>(rank) : axis)] =
        true;
  }
  return reduced;
}

/// Strides of the result per axis of x, 0 along reduced ones.
std::vector<std::int64_t> result_strides(const View& result, const std::vector<bool>& reduced) {
  const bool keeps = result.type.shape.size() == reduced.size();
  std::vector<std::int64_t> strides(reduced.size(), 0);
  std::size_t next = 0;
  for (std::size_t axis = 0; axis < reduced.size(); ++axis) {
    if (reduced[axis]) {
      next += keeps ? 1 : 0;
    } else {
      strides[axis] = result.strides[next++];
    }
  }
  return strides;
}

/// Takes the innermost kept loop out and puts the loop over its tiles in its place.
void cut_columns(ReducePlan& plan) {
  plan.columns = plan.kept.extents.back();
  plan.x_column = plan.kept.strides[0].back();
  plan.y_column = plan.kept.strides[1].back();
  const std::int64_t share = plan.kept.elements() / kFewUnits / 16 * 16;
  plan.tile = std::min(std::clamp<std::int64_t>(share, 64, kColumns), plan.columns);
  plan.tiles = (plan.columns + plan.tile - 1) / plan.tile;
  plan.kept.extents.back() = plan.tiles;
  plan.kept.strides[0].back() *= plan.tile;
  plan.kept.strides[1].back() *= plan.tile;
  plan.units = plan.kept.elements();
}

void cut_parts(ReducePlan& plan) {
  const std::vector<std::int64_t>& extents = plan.reduced.extents;
  plan.split =
      static_cast<std::size_t>(std::max_element(extents.begin(), extents.end()) - extents.begin());
  if (plan.units >= kFewUnits) return;
  plan.parts =
      std::min({plan.elements / kPartElements, kMostParts, extents[plan.split] / kPartExtent});
  plan.parts = std::max<std::int64_t>(plan.parts, 1);
}

}  // namespace

std::unique_ptr<Kernel> lower_reduce(const Node& node, std::span<const View> operands,
                                     std::span<const View> results) {
  check_unblocked(node, operands, results);
  const std::vector<std::int64_t> extents = static_extents(operands[0].type.shape);
  const std::vector<bool> reduced = reduced_axes(node, extents.size());
  std::vector<std::int64_t> kept_extents = extents, reduced_extents = extents;
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    (reduced[axis] ? kept_extents : reduced_extents)[axis] = 1;
  }
  ReducePlan plan;
  plan.fold = node.is("reduce_max") ? Fold::max : node.is("reduce_min") ? Fold::min : Fold::sum;
  plan.from = float_type(node, operands[0].type.dtype);
  plan.to = float_type(node, results[0].type.dtype);
  plan.kept = collapse(kept_extents, {operands[0].strides, result_strides(results[0], reduced)}, 0);
  plan.reduced = collapse(reduced_extents, {operands[0].strides}, 0);
  pad_loops(plan.reduced, 2);
  const std::int64_t count = plan.reduced.elements();
  plan.elements = plan.kept.elements() * count;
  if (node.is("reduce_mean")) plan.factor = 1 / static_cast<float>(count);
  cut_columns(plan);
  cut_parts(plan);
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
