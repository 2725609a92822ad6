#include "backends/cpu/kernels/column_sums.h"

#include <algorithm>
#include <array>
#include <string>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"

namespace facet::cpu {
namespace {

/// Columns summed together, and rows that are summed in f32 before they join a sum in double.
constexpr std::int64_t kColumns = 64;
constexpr std::int64_t kRows = 64;

struct ColumnSumsPlan {
  Float type = Float::f32;
  Loops rows;  ///< view x
  std::int64_t columns = 1, x_column = 1, y_column = 1;

  std::string implementation() const { return std::string("column_sums:") + vector_loops().name; }
  std::size_t scratch_bytes() const { return 0; }

  void run(const Addresses& addresses) const {
    const std::int64_t blocks = (columns + kColumns - 1) / kColumns;
    parallel_for(blocks, rows.elements() * columns, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t block = begin; block < end; ++block) sum_block(addresses, block * kColumns);
    });
  }

  void sum_block(const Addresses& addresses, std::int64_t first) const {
    const std::int64_t width = std::min(kColumns, columns - first);
    std::array<double, kColumns> total{};
    std::array<float, kColumns> part, values;
    Loops outer = rows;
    const std::int64_t count = outer.extents.back();
    const std::int64_t step = outer.strides[0].back();
    outer.extents.back() = (count + kRows - 1) / kRows;
    outer.strides[0].back() *= kRows;
    std::int64_t position = 0;
    for_each_position(outer, 0, outer.elements(), [&](const std::vector<std::int64_t>& at) {
      const std::int64_t row = position++ % outer.extents.back() * kRows;
      const std::int64_t here = std::min(kRows, count - row);
      const std::byte* const x = addresses.operands[0] + (at[0] + first * x_column) * size_of(type);
      if (x_column == 1) {
        const std::int64_t counts[2] = {1, here};
        const std::int64_t strides[2] = {0, step};
        vector_loops().fold_rows[static_cast<int>(Fold::sum)][static_cast<int>(type)](
            x, counts, strides, width, part.data());
      } else {
        part.fill(0);
        for (std::int64_t r = 0; r < here; ++r) {
          load_floats(type, x + r * step * size_of(type), x_column, values.data(), width);
          for (std::size_t c = 0; c < static_cast<std::size_t>(width); ++c) part[c] += values[c];
        }
      }
      for (std::size_t c = 0; c < static_cast<std::size_t>(width); ++c) total[c] += part[c];
    });
    std::transform(total.begin(), total.end(), part.begin(),
                   [](double sum) { return static_cast<float>(sum); });
    store_floats(Float::f32, part.data(), addresses.results[0] + first * y_column * 4, y_column,
                 width);
  }
};

}  // namespace

std::unique_ptr<Kernel> make_column_sums(const Node& node, const View& x, std::size_t axis,
                                         const View& y) {
  check_unblocked(node, {&x, 1}, {&y, 1});
  ColumnSumsPlan plan;
  plan.type = float_type(node, x.type.dtype);
  std::vector<std::int64_t> extents = static_extents(x.type.shape);
  plan.columns = extents[axis];
  plan.x_column = x.strides[axis];
  plan.y_column = y.strides[0];
  extents[axis] = 1;
  plan.rows = collapse(extents, {x.strides}, 0);
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
