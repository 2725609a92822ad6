#include <algorithm>
#include <memory>
#include <string>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"

namespace facet::cpu {
namespace {

/// Elements of a tile, unless a single line along the axis is longer.
constexpr std::int64_t kTileElements = 4096;
/// Lines side by side, however long: a vector's worth.
constexpr std::int64_t kFewestBeside = 16;

/// A tile is a bundle of `lines` along the axis, taken from the innermost other loop. It is widened
/// into a buffer in the order that is contiguous in x: line by line, or element by element with the
/// lines side by side.
struct SoftmaxPlan {
  Float from = Float::f32;
  Float to = Float::f32;
  std::int64_t length = 1, x_step = 0, y_step = 0;  ///< along the axis
  std::int64_t lines = 1, x_line = 0, y_line = 0;   ///< the loop that tiles cut
  std::int64_t tile_lines = 1, tiles = 1;
  Loops others;  ///< views x and y; the innermost loop counts tiles
  std::int64_t elements = 0;

  std::string implementation() const { return std::string("softmax:") + vector_loops().name; }
  std::size_t scratch_bytes() const { return 0; }
  /// Whether the buffer holds lines side by side.
  bool side_by_side() const { return x_step != 1 && x_line == 1; }

  void run(const Addresses& addresses) const {
    parallel_for(others.elements(), elements, [&](std::int64_t begin, std::int64_t end) {
      const auto buffer = std::make_unique_for_overwrite<float[]>(
          static_cast<std::size_t>(length * tile_lines + 2 * tile_lines));
      std::int64_t unit = begin;
      for_each_position(others, begin, end, [&](const std::vector<std::int64_t>& at) {
        const std::int64_t count = std::min(tile_lines, lines - unit++ % tiles * tile_lines);
        run_tile(addresses.operands[0] + at[0] * size_of(from),
                 addresses.results[0] + at[1] * size_of(to), count, buffer.get());
      });
    });
  }

  void run_tile(const std::byte* x, std::byte* y, std::int64_t count, float* buffer) const {
    const VectorLoops& loops = vector_loops();
    const bool beside = side_by_side();
    const std::int64_t rows = beside ? length : count;
    const std::int64_t cols = beside ? count : length;
    float* const values = buffer;
    float* const fold = buffer + length * tile_lines;
    for (std::int64_t r = 0; r < rows; ++r) {
      load_floats(from, x + r * (beside ? x_step : x_line) * size_of(from), beside ? x_line : x_step,
                  values + r * cols, cols);
    }
    const Tile tile{values, cols, true};
    const auto apply = [&](Function function, Tile other) {
      const Tile arguments[] = {tile, other};
      loops.functions[static_cast<int>(function)](values, cols, arguments, rows, cols);
    };
    const Tile folded{fold, beside ? 0 : 1, beside};
    fold_lines(Fold::max, values, rows, cols, fold);
    apply(Function::sub, folded);
    const Tile flat{values, 0, true};
    loops.functions[static_cast<int>(Function::exp)](values, 0, &flat, 1, rows * cols);
    fold_lines(Fold::sum, values, rows, cols, fold);
    apply(Function::div, folded);
    for (std::int64_t r = 0; r < rows; ++r) {
      store_floats(to, values + r * cols, y + r * (beside ? y_step : y_line) * size_of(to),
                   beside ? y_line : y_step, cols);
    }
  }

  /// One value per line of the buffer.
  void fold_lines(Fold fold, const float* values, std::int64_t rows, std::int64_t cols,
                  float* result) const {
    const VectorLoops& loops = vector_loops();
    const auto f = static_cast<int>(fold);
    if (side_by_side()) {
      const std::int64_t count[2] = {1, rows};
      const std::int64_t stride[2] = {0, cols};
      return loops.fold_rows[f][0](values, count, stride, cols, result);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      result[r] = loops.fold_run[f][0](values + r * cols, cols);
    }
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_softmax(const Node& node, std::span<const View> operands,
                                      std::span<const View> results) {
  check_unblocked(node, operands, results);
  const View& x = operands[0];
  const View& y = results[0];
  std::vector<std::int64_t> extents = static_extents(x.type.shape);
  std::int64_t given = node.attributes().integer("axis");
  if (given < 0) given += static_cast<std::int64_t>(extents.size());
  const auto axis = static_cast<std::size_t>(given);
  SoftmaxPlan plan;
  plan.from = float_type(node, x.type.dtype);
  plan.to = float_type(node, y.type.dtype);
  plan.length = extents[axis];
  plan.x_step = plan.length == 1 ? 1 : x.strides[axis];
  plan.y_step = plan.length == 1 ? 1 : y.strides[axis];
  extents[axis] = 1;
  plan.others = collapse(extents, {x.strides, y.strides}, 0);
  plan.elements = plan.others.elements() * plan.length;
  plan.lines = plan.others.extents.back();
  plan.x_line = plan.others.strides[0].back();
  plan.y_line = plan.others.strides[1].back();
  const std::int64_t fewest = plan.side_by_side() ? kFewestBeside : 1;
  plan.tile_lines = std::min(std::max(kTileElements / plan.length, fewest), plan.lines);
  plan.tiles = (plan.lines + plan.tile_lines - 1) / plan.tile_lines;
  plan.others.extents.back() = plan.tiles;
  for (std::vector<std::int64_t>& strides : plan.others.strides) strides.back() *= plan.tile_lines;
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
