#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/train_kernels.h"

namespace facet::cpu {
namespace {

/// Maxima looked for together, side by side.
constexpr std::int64_t kColumns = 256;
/// Elements read at once where a maximum is looked for along contiguous elements.
constexpr std::int64_t kRun = 1024;

/// For every kept position the reduced positions are walked twice, in row-major order: to find the
/// winner's number, and to write.
struct ReduceMaxBwdPlan {
  Float dy_type = Float::f32, x_type = Float::f32, dx_type = Float::f32;
  Loops kept;     ///< dy, x, dx; the innermost loop counts blocks of `block` positions
  Loops reduced;  ///< x, dx, in row-major order; the innermost loop counts pieces of `piece`
  std::int64_t columns = 1, block = 1, blocks = 1;
  std::int64_t dy_column = 0, x_column = 0, dx_column = 0;
  std::int64_t length = 1, piece = 1, pieces = 1, x_step = 0, dx_step = 0;
  std::int64_t elements = 0;

  std::string implementation() const {
    return std::string("reduce_max_bwd:") + vector_loops().name;
  }
  std::size_t scratch_bytes() const { return 0; }

  void run_units(const Addresses& a, std::int64_t begin, std::int64_t end) const {
    std::vector<float> values(static_cast<std::size_t>(std::max(piece, block)));
    std::vector<float> best(static_cast<std::size_t>(block)), gradient(best.size());
    std::vector<std::int64_t> winner(best.size());
    std::int64_t unit = begin;
    for_each_position(kept, begin, end, [&](const std::vector<std::int64_t>& at) {
      const std::int64_t width = std::min(block, columns - unit++ % blocks * block);
      load_floats(dy_type, a.operands[0] + at[0] * size_of(dy_type), dy_column, gradient.data(),
                  width);
      std::fill(winner.begin(), winner.end(), -1);
      std::int64_t number = 0;
      for_each_piece([&](std::int64_t x, std::int64_t, std::int64_t count) {
        find(a.operands[1] + (at[1] + x) * size_of(x_type), count, width, number, values.data(),
             best.data(), winner.data());
        number += count;
      });
      number = 0;
      for_each_piece([&](std::int64_t, std::int64_t dx, std::int64_t count) {
        write(a.results[0] + (at[2] + dx) * size_of(dx_type), count, width, number, values.data(),
              gradient.data(), winner.data());
        number += count;
      });
    });
  }

  void run(const Addresses& a) const {
    parallel_for(kept.elements(), elements,
                 [&](std::int64_t begin, std::int64_t end) { run_units(a, begin, end); });
  }

 private:
  /// body(offset in x, offset in dx, elements of the piece), in row-major order.
  template <class Body>
  void for_each_piece(const Body& body) const {
    std::int64_t position = 0;
    for_each_position(reduced, 0, reduced.elements(), [&](const std::vector<std::int64_t>& at) {
      body(at[0], at[1], std::min(piece, length - position++ % pieces * piece));
    });
  }

  /// A NaN wins over everything but an earlier NaN.
  static bool wins(float value, float best) { return !(best >= value || best != best); }

  void find(const std::byte* x, std::int64_t count, std::int64_t width, std::int64_t number,
            float* values, float* best, std::int64_t* winner) const {
    const auto look = [&](std::int64_t c, float value, std::int64_t at) {
      if (winner[c] >= 0 && !wins(value, best[c])) return;
      best[c] = value;
      winner[c] = at;
    };
    if (block == 1) {
      load_floats(x_type, x, x_step, values, count);
      for (std::int64_t i = 0; i < count; ++i) look(0, values[i], number + i);
      return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
      load_floats(x_type, x + i * x_step * size_of(x_type), x_column, values, width);
      for (std::int64_t c = 0; c < width; ++c) look(c, values[c], number + i);
    }
  }

  void write(std::byte* dx, std::int64_t count, std::int64_t width, std::int64_t number,
             float* values, const float* gradient, const std::int64_t* winner) const {
    if (block == 1) {
      std::fill_n(values, count, 0.0f);
      if (winner[0] >= number && winner[0] < number + count) {
        values[winner[0] - number] = gradient[0];
      }
      store_floats(dx_type, values, dx, dx_step, count);
      return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t c = 0; c < width; ++c) {
        values[c] = winner[c] == number + i ? gradient[c] : 0.0f;
      }
      store_floats(dx_type, values, dx + i * dx_step * size_of(dx_type), dx_column, width);
    }
  }
};

/// Axes stay in the order they are: the winner is the first in row-major order.
Loops in_order(const std::vector<std::int64_t>& extents,
               const std::vector<std::vector<std::int64_t>>& strides) {
  std::vector<std::int64_t> row_major(extents.size(), 1);
  for (std::size_t i = extents.size(); i-- > 1;) row_major[i - 1] = row_major[i] * extents[i];
  std::vector<std::vector<std::int64_t>> all{row_major};
  all.insert(all.end(), strides.begin(), strides.end());
  Loops loops = collapse(extents, all, 0);
  loops.strides.erase(loops.strides.begin());
  return loops;
}

}  // namespace

std::unique_ptr<Kernel> lower_reduce_max_bwd(const Node& node, std::span<const View> operands,
                                             std::span<const View> results) {
  check_unblocked(node, operands, results);
  ReduceMaxBwdPlan plan;
  plan.dy_type = float_type(node, operands[0].type.dtype);
  plan.x_type = float_type(node, operands[1].type.dtype);
  plan.dx_type = float_type(node, results[0].type.dtype);
  const std::vector<std::int64_t> extents = static_extents(operands[1].type.shape);
  const std::size_t rank = extents.size();
  std::vector<bool> is_reduced(rank, false);
  for (const std::int64_t axis : node.attributes().ints("axes")) {
    is_reduced[static_cast<std::size_t>(axis < 0 ? axis + static_cast<std::int64_t>(rank) : axis)] =
        true;
  }
  const bool keeps = node.attributes().boolean("keepdims");
  std::vector<std::int64_t> kept = extents, reduced = extents, dy(rank, 0);
  std::size_t next = 0;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    (is_reduced[axis] ? kept : reduced)[axis] = 1;
    if (keeps || !is_reduced[axis]) {
      dy[axis] = is_reduced[axis] ? 0 : operands[0].strides[next];
      ++next;
    }
  }
  plan.elements = element_count(extents);
  plan.kept = collapse(kept, {dy, operands[1].strides, results[0].strides}, 1);
  plan.reduced = in_order(reduced, {operands[1].strides, results[0].strides});
  plan.columns = plan.kept.extents.back();
  plan.dy_column = plan.kept.strides[0].back();
  plan.x_column = plan.kept.strides[1].back();
  plan.dx_column = plan.kept.strides[2].back();
  plan.length = plan.reduced.extents.back();
  plan.x_step = plan.reduced.strides[0].back();
  plan.dx_step = plan.reduced.strides[1].back();
  if (plan.x_column == 1) plan.block = std::min(plan.columns, kColumns);
  if (plan.block == 1) plan.x_column = plan.dx_column = 0;
  plan.blocks = (plan.columns + plan.block - 1) / plan.block;
  plan.kept.extents.back() = plan.blocks;
  for (std::vector<std::int64_t>& s : plan.kept.strides) s.back() *= plan.block;
  plan.piece = std::min(plan.length, kRun);
  plan.pieces = (plan.length + plan.piece - 1) / plan.piece;
  plan.reduced.extents.back() = plan.pieces;
  for (std::vector<std::int64_t>& s : plan.reduced.strides) s.back() *= plan.piece;
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
