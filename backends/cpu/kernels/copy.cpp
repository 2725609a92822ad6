#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "ir/error.h"
#include "ir/host_tensor.h"
#include "ir/padding.h"

namespace facet::cpu {
namespace {

/// Elements of a contiguous run that one unit of work copies at most.
constexpr std::int64_t kRun = 8192;
/// A transposed tile: kTileIn elements along the axis contiguous in x, kTileOut along y's.
constexpr std::int64_t kTileIn = 64;
constexpr std::int64_t kTileOut = 64;
/// With no more planes than this, longer pieces of them are woven at once.
constexpr std::int64_t kFewPlanes = 4;
constexpr std::int64_t kWovenRun = 1024;

/// The operand of a copy that writes one value everywhere.
constexpr auto kValue = static_cast<std::size_t>(-1);

/// One operand's way into the result. Views are y and x; the loops are in y's order.
///   run:       the innermost loop is contiguous in both, or no loop is contiguous in both;
///   transpose: y is contiguous along the loop `out`, x along `in`, both cut into tiles; elements
///              change their dtype first.
struct Copy {
  std::size_t operand = 0;
  DType from = DType::f32, to = DType::f32;
  std::int64_t x_first = 0, y_first = 0;  ///< elements to the copied part
  Loops loops;  ///< around the runs or tiles; the innermost one or two count pieces
  bool transposes = false;
  std::int64_t out = 1, x_out = 0, y_out = 0;  ///< the innermost loop
  std::int64_t in = 1, x_in = 0, y_in = 0;     ///< the loop along which x is contiguous
  std::int64_t piece_out = 1, piece_in = 1;
  std::int64_t elements = 0;
  bool same_strides = false;
  HostTensor value;  ///< what is written in place of an operand
};

struct CopyPlan {
  std::vector<Copy> copies;
  std::string name;

  std::string implementation() const { return name + ":" + vector_loops().name; }
  std::size_t scratch_bytes() const { return 0; }

  void run(const Addresses& addresses) const {
    for (const Copy& copy : copies) {
      const std::byte* const x =
          copy.operand == kValue
              ? copy.value.data()
              : addresses.operands[copy.operand] + copy.x_first * size_of(copy.from);
      std::byte* const y = addresses.results[0] + copy.y_first * size_of(copy.to);
      if (x == y && copy.same_strides) continue;
      parallel_for(copy.loops.elements(), copy.elements, [&](std::int64_t begin, std::int64_t end) {
        copy.transposes ? transpose_tiles(copy, x, y, begin, end)
                        : copy_runs(copy, x, y, begin, end);
      });
    }
  }

  static void copy_runs(const Copy& copy, const std::byte* x, std::byte* y, std::int64_t begin,
                        std::int64_t end) {
    const std::int64_t pieces = copy.loops.extents.back();
    std::int64_t unit = begin;
    for_each_position(copy.loops, begin, end, [&](const std::vector<std::int64_t>& at) {
      const std::int64_t first = unit++ % pieces * copy.piece_out;
      convert(copy.from, x + at[1] * size_of(copy.from), copy.x_out, copy.to,
              y + at[0] * size_of(copy.to), copy.y_out, std::min(copy.piece_out, copy.out - first));
    });
  }

  static void transpose_tiles(const Copy& copy, const std::byte* x, std::byte* y,
                              std::int64_t begin, std::int64_t end) {
    const std::size_t depth = copy.loops.depth();
    const std::int64_t out_pieces = copy.loops.extents[depth - 1];
    const std::int64_t in_pieces = copy.loops.extents[depth - 2];
    const VectorLoops& loops = vector_loops();
    const std::int64_t size = size_of(copy.to);
    const Transpose transpose = size == 4 ? loops.transpose32 : loops.transpose16;
    alignas(64) std::byte buffer[kTileIn * kTileOut * 4];
    static_assert(kFewPlanes * kWovenRun <= kTileIn * kTileOut);
    std::int64_t unit = begin;
    for_each_position(copy.loops, begin, end, [&](const std::vector<std::int64_t>& at) {
      const std::int64_t outs =
          std::min(copy.piece_out, copy.out - unit % out_pieces * copy.piece_out);
      const std::int64_t ins =
          std::min(copy.piece_in, copy.in - unit / out_pieces % in_pieces * copy.piece_in);
      ++unit;
      const std::byte* tile = x + at[1] * size_of(copy.from);
      std::int64_t row = copy.x_out;
      if (copy.from != copy.to) {
        for (std::int64_t i = 0; i < outs; ++i) {
          convert(copy.from, tile + i * row * size_of(copy.from), 1, copy.to,
                  buffer + i * ins * size, 1, ins);
        }
        tile = buffer;
        row = ins;
      }
      transpose(tile, row, y + at[0] * size, copy.y_in, outs, ins);
    });
  }
};

/// Replaces loop d by the loop over its pieces.
void cut(Loops& loops, std::size_t d, std::int64_t piece) {
  loops.extents[d] = (loops.extents[d] + piece - 1) / piece;
  for (std::vector<std::int64_t>& strides : loops.strides) strides[d] *= piece;
}

/// Plans y <- x over `extents`.
Copy plan_copy(const std::vector<std::int64_t>& extents, DType from,
               const std::vector<std::int64_t>& x, DType to, const std::vector<std::int64_t>& y) {
  Copy copy;
  copy.from = from;
  copy.to = to;
  copy.loops = collapse(extents, {y, x}, 0);
  copy.elements = copy.loops.elements();
  Loops& loops = copy.loops;
  const std::size_t last = loops.depth() - 1;
  copy.same_strides = loops.strides[0] == loops.strides[1];
  copy.out = loops.extents[last];
  copy.y_out = loops.strides[0][last];
  copy.x_out = loops.strides[1][last];
  const std::int64_t size = size_of(to);
  const auto contiguous = std::find(loops.strides[1].begin(), loops.strides[1].end(), 1);
  const auto in = static_cast<std::size_t>(contiguous - loops.strides[1].begin());
  copy.transposes = copy.y_out == 1 && in < last && (size == 2 || size == 4);
  if (!copy.transposes) {
    copy.piece_out = kRun;
    cut(loops, last, kRun);
    return copy;
  }
  // The loop that x is contiguous along moves next to the innermost one.
  const auto move_inwards = [&](std::vector<std::int64_t>& v) {
    std::rotate(v.begin() + static_cast<std::ptrdiff_t>(in),
                v.begin() + static_cast<std::ptrdiff_t>(in) + 1, v.end() - 1);
  };
  move_inwards(loops.extents);
  for (std::vector<std::int64_t>& strides : loops.strides) move_inwards(strides);
  copy.in = loops.extents[last - 1];
  copy.y_in = loops.strides[0][last - 1];
  copy.x_in = 1;
  copy.piece_out = copy.in <= kFewPlanes ? kWovenRun : kTileOut;
  copy.piece_in = copy.out <= kFewPlanes ? kWovenRun : kTileIn;
  cut(loops, last, copy.piece_out);
  cut(loops, last - 1, copy.piece_in);
  return copy;
}

std::vector<Copy> plan_concat(const Node& node, std::span<const View> operands, const View& y) {
  std::int64_t axis = node.attributes().integer("axis");
  if (axis < 0) axis += y.type.rank();
  std::vector<Copy> copies;
  std::int64_t position = 0;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const std::vector<std::int64_t> extents = static_extents(operands[i].type.shape);
    Copy copy =
        plan_copy(extents, operands[i].type.dtype, operands[i].strides, y.type.dtype, y.strides);
    copy.operand = i;
    copy.y_first = position * y.strides[static_cast<std::size_t>(axis)];
    position += extents[static_cast<std::size_t>(axis)];
    copies.push_back(std::move(copy));
  }
  return copies;
}

Copy plan_slice(const Node& node, const View& x, const View& y) {
  std::int64_t axis = node.attributes().integer("axis");
  if (axis < 0) axis += y.type.rank();
  Copy copy =
      plan_copy(static_extents(y.type.shape), x.type.dtype, x.strides, y.type.dtype, y.strides);
  copy.x_first = node.attributes().integer("start") * x.strides[static_cast<std::size_t>(axis)];
  return copy;
}

/// x into the middle, and what the mode says ahead of and behind it: a stretch of x walked forwards,
/// backwards or not at all, or the value.
std::vector<Copy> plan_pad(const Node& node, const View& x, const View& y) {
  const Attributes& a = node.attributes();
  std::int64_t axis = a.integer("axis");
  if (axis < 0) axis += y.type.rank();
  const auto along = static_cast<std::size_t>(axis);
  std::vector<std::int64_t> extents = static_extents(x.type.shape);
  const std::vector<std::int64_t> standing(extents.size(), 0);
  std::vector<Copy> copies;
  for (const PadRun& run : pad_runs(parse_pad_mode(a.text("mode")), extents[along],
                                    a.integer("before"), a.integer("after"))) {
    if (run.count == 0) continue;
    extents[along] = run.count;
    if (run.from < 0) {
      copies.push_back(plan_copy(extents, y.type.dtype, standing, y.type.dtype, y.strides));
      copies.back().operand = kValue;
      copies.back().value = HostTensor::scalar(y.type.dtype, a.number("value"));
    } else {
      std::vector<std::int64_t> strides = x.strides;
      strides[along] *= run.step;
      copies.push_back(plan_copy(extents, x.type.dtype, strides, y.type.dtype, y.strides));
      copies.back().x_first = run.from * x.strides[along];
    }
    copies.back().y_first = run.to * y.strides[along];
  }
  return copies;
}

/// Every step-th element; a negative step walks backwards.
Copy plan_strided_slice(const Node& node, const View& x, const View& y) {
  std::int64_t axis = node.attributes().integer("axis");
  if (axis < 0) axis += y.type.rank();
  const auto along = static_cast<std::size_t>(axis);
  std::vector<std::int64_t> strides = x.strides;
  strides[along] *= node.attributes().integer("step");
  Copy copy =
      plan_copy(static_extents(y.type.shape), x.type.dtype, strides, y.type.dtype, y.strides);
  copy.x_first = node.attributes().integer("start") * x.strides[along];
  return copy;
}

Copy plan_reverse(const Node& node, const View& x, const View& y) {
  std::int64_t axis = node.attributes().integer("axis");
  if (axis < 0) axis += y.type.rank();
  const auto along = static_cast<std::size_t>(axis);
  const std::vector<std::int64_t> extents = static_extents(y.type.shape);
  std::vector<std::int64_t> backwards = x.strides;
  backwards[along] = -backwards[along];
  Copy copy = plan_copy(extents, x.type.dtype, backwards, y.type.dtype, y.strides);
  copy.x_first = (extents[along] - 1) * x.strides[along];
  return copy;
}

/// The strides of a skewed matrix in the one it is taken from, y[i, j] = x[i, j - i + rows - 1]: a row
/// begins one element ahead of where the last one did.
std::vector<std::int64_t> skewed_strides(const View& x) {
  std::vector<std::int64_t> strides = x.strides;
  strides.end()[-2] -= strides.back();
  return strides;
}

Copy plan_skew(const View& x, const View& y) {
  const std::vector<std::int64_t> extents = static_extents(y.type.shape);
  Copy copy = plan_copy(extents, x.type.dtype, skewed_strides(x), y.type.dtype, y.strides);
  copy.x_first = (extents.end()[-2] - 1) * x.strides.back();
  return copy;
}

/// x where a skew would find it, and zeros elsewhere: ahead of the first row, between two, behind the
/// last. Rows must follow each other without gaps.
std::vector<Copy> plan_unskew(const Node& node, const View& x, const View& y) {
  std::vector<std::int64_t> extents = static_extents(x.type.shape);
  const std::int64_t rows = extents.end()[-2];
  const std::int64_t columns = extents.back();
  const std::int64_t step = y.strides.back();
  if (y.strides.end()[-2] != (rows + columns - 1) * step) {
    throw failure(fmt::format("unskew ({}) writes dense matrices only", node.provenance().scope));
  }
  std::vector<Copy> copies = {
      plan_copy(extents, x.type.dtype, x.strides, y.type.dtype, skewed_strides(y))};
  copies[0].y_first = (rows - 1) * step;
  const std::vector<std::int64_t> standing(extents.size(), 0);
  const auto add_zeros = [&](std::int64_t first, std::int64_t count, std::int64_t length) {
    if (count == 0 || length == 0) return;
    extents.end()[-2] = count;
    extents.back() = length;
    copies.push_back(plan_copy(extents, y.type.dtype, standing, y.type.dtype, skewed_strides(y)));
    copies.back().y_first = first * step;
    copies.back().operand = kValue;
    copies.back().value = HostTensor::scalar(y.type.dtype, 0);
  };
  add_zeros(0, 1, rows - 1);
  add_zeros(rows - 1 + columns, rows - 1, rows - 2);
  add_zeros(rows * (rows + columns - 1) - (rows - 1), 1, rows - 1);
  return copies;
}

Copy plan_transpose(const Node& node, const View& x, const View& y) {
  std::vector<std::int64_t> strides;
  for (const std::int64_t axis : node.attributes().ints("permutation")) {
    strides.push_back(x.strides[static_cast<std::size_t>(axis)]);
  }
  return plan_copy(static_extents(y.type.shape), x.type.dtype, strides, y.type.dtype, y.strides);
}

/// Both sides have the same elements in row-major order of their axes: one is walked along the
/// other's.
Copy plan_reshape(const Node& node, const View& x, const View& y) {
  if (const auto strides = reshaped_strides(y.type.shape, y.strides, x.type.shape)) {
    return plan_copy(static_extents(x.type.shape), x.type.dtype, x.strides, y.type.dtype, *strides);
  }
  if (const auto strides = reshaped_strides(x.type.shape, x.strides, y.type.shape)) {
    return plan_copy(static_extents(y.type.shape), x.type.dtype, *strides, y.type.dtype, y.strides);
  }
  throw failure(fmt::format("reshape ({}) from {} to {}: no axes have the strides of both",
                            node.provenance().scope, to_string(x.type), to_string(y.type)));
}

}  // namespace

std::unique_ptr<Kernel> lower_copy(const Node& node, std::span<const View> operands,
                                   std::span<const View> results) {
  check_unblocked(node, operands, results);
  const View& x = operands[0];
  const View& y = results[0];
  CopyPlan plan;
  plan.name = std::string(node.kind());
  if (node.is("concat")) {
    plan.copies = plan_concat(node, operands, y);
  } else if (node.is("slice")) {
    plan.copies.push_back(plan_slice(node, x, y));
  } else if (node.is("strided_slice")) {
    plan.copies.push_back(plan_strided_slice(node, x, y));
  } else if (node.is("pad")) {
    plan.copies = plan_pad(node, x, y);
  } else if (node.is("reverse")) {
    plan.copies.push_back(plan_reverse(node, x, y));
  } else if (node.is("skew")) {
    plan.copies.push_back(plan_skew(x, y));
  } else if (node.is("unskew")) {
    plan.copies = plan_unskew(node, x, y);
  } else if (node.is("transpose")) {
    plan.copies.push_back(plan_transpose(node, x, y));
  } else if (node.is("reshape")) {
    plan.copies.push_back(plan_reshape(node, x, y));
  } else if (node.is("expand")) {
    const std::vector<std::int64_t> extents = static_extents(y.type.shape);
    plan.copies.push_back(
        plan_copy(extents, x.type.dtype, broadcast_strides(x, extents), y.type.dtype, y.strides));
  } else if (node.is("reorder") || node.is("cast")) {
    plan.copies.push_back(
        plan_copy(static_extents(y.type.shape), x.type.dtype, x.strides, y.type.dtype, y.strides));
  } else {
    throw failure(fmt::format("'{}' ({}) does not copy", node.kind(), node.provenance().scope));
  }
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
