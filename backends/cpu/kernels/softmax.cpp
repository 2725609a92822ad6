#include <algorithm>
#include <limits>
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
/// The longest vector, in floats.
constexpr std::int64_t kPadding = 16;
static_assert(takes_bf16(Function::sub, 0));

/// A tile is a bundle of `lines` along the axis, taken from the innermost other loop. It is worked
/// on in the order that is contiguous in x: line by line, or element by element with the lines side
/// by side.
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
  bool side_by_side() const { return x_step != 1 && x_line == 1; }
  /// Row length of the buffer: lines one below the other are padded, so that no vector is broken.
  std::int64_t buffer_row() const {
    return side_by_side() ? tile_lines : (length + kPadding - 1) / kPadding * kPadding;
  }

  void run(const Addresses& addresses) const {
    const std::int64_t rows = side_by_side() ? length : tile_lines;
    parallel_for(others.elements(), elements, [&](std::int64_t begin, std::int64_t end) {
      const auto buffer = std::make_unique_for_overwrite<float[]>(
          static_cast<std::size_t>(rows * buffer_row() + tile_lines));
      std::int64_t unit = begin;
      for_each_position(others, begin, end, [&](const std::vector<std::int64_t>& at) {
        const std::int64_t count = std::min(tile_lines, lines - unit++ % tiles * tile_lines);
        run_tile(addresses.operands[0] + at[0] * size_of(from),
                 addresses.results[0] + at[1] * size_of(to), count, buffer.get(),
                 buffer.get() + rows * buffer_row());
      });
    });
  }

  /// `values` and `fold` are the thread's buffer: the tile, and one value per line.
  void run_tile(const std::byte* x, std::byte* y, std::int64_t count, float* values,
                float* fold) const {
    const bool beside = side_by_side();
    const std::int64_t rows = beside ? length : count;
    const std::int64_t cols = beside ? count : length;
    const std::int64_t row = beside ? count : buffer_row();
    const Tile tile{values, row, true, Float::f32};
    const Tile folded{fold, beside ? 0 : 1, beside, Float::f32};
    const Tile operand = operand_tile(x, rows, cols, values, row);
    fold_lines(Fold::max, operand, rows, cols, fold);
    const Tile centring[] = {operand, folded};
    apply(Function::sub, values, row, centring, rows, cols);
    if (!beside) {
      for (std::int64_t r = 0; r < rows; ++r) {
        std::fill(values + r * row + cols, values + (r + 1) * row,
                  -std::numeric_limits<float>::infinity());
      }
    }
    apply(Function::exp, values, 0, &tile, 1, rows * row);
    fold_lines(Fold::sum, tile, rows, row, fold);
    for (std::int64_t i = 0; i < count; ++i) fold[i] = 1 / fold[i];
    const Tile scaling[] = {tile, folded};
    const std::int64_t y_row = beside ? y_step : y_line;
    const std::int64_t y_col = beside ? y_line : y_step;
    if (to == Float::f32 && y_col == 1) {
      return apply(Function::mul, reinterpret_cast<float*>(y), y_row, scaling, rows, cols);
    }
    apply(Function::mul, values, row, scaling, rows, cols);
    for (std::int64_t r = 0; r < rows; ++r) {
      store_floats(to, values + r * row, y + r * y_row * size_of(to), y_col, cols);
    }
  }

  /// x itself where the vector loops can read it, else a copy in the buffer.
  Tile operand_tile(const std::byte* x, std::int64_t rows, std::int64_t cols, float* values,
                    std::int64_t row) const {
    const bool beside = side_by_side();
    const std::int64_t x_row = beside ? x_step : x_line;
    const std::int64_t x_col = beside ? x_line : x_step;
    if (from != Float::f16 && x_col == 1) return {x, x_row, true, from};
    for (std::int64_t r = 0; r < rows; ++r) {
      load_floats(from, x + r * x_row * size_of(from), x_col, values + r * row, cols);
    }
    return {values, row, true, Float::f32};
  }

  static void apply(Function function, float* y, std::int64_t y_row, const Tile* arguments,
                    std::int64_t rows, std::int64_t cols) {
    vector_loops().functions[static_cast<int>(function)](y, y_row, arguments, rows, cols);
  }

  /// One value per line.
  void fold_lines(Fold fold, const Tile& tile, std::int64_t rows, std::int64_t cols,
                  float* result) const {
    const VectorLoops& loops = vector_loops();
    const auto f = static_cast<int>(fold);
    const auto t = static_cast<int>(tile.type);
    if (side_by_side()) {
      const std::int64_t count[2] = {1, rows};
      const std::int64_t stride[2] = {0, tile.row};
      return loops.fold_rows[f][t](tile.data, count, stride, cols, result);
    }
    const auto* const data = static_cast<const std::byte*>(tile.data);
    for (std::int64_t r = 0; r < rows; ++r) {
      result[r] = loops.fold_run[f][t](data + r * tile.row * size_of(tile.type), cols);
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
