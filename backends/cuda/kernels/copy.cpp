#include "backends/cuda/kernels/copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/error.h"
#include "ir/host_tensor.h"
#include "ir/op.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kTile = 32;
/// Along both axes, to be worth tiles.
constexpr std::int64_t kLeastTiled = 8;

/// Where an element of the result is taken from: element `offset` + the strides times its place, if
/// `guard` of it lies in [0, guard_extent).
struct Move {
  std::vector<std::int64_t> extents;
  Stream from, to, guard;
  std::int64_t from_offset = 0, to_offset = 0;
  std::int64_t guard_offset = 0;
  std::int64_t guard_extent = 0;  ///< 0: all elements are there
  std::string fill = "0";         ///< bits of those that are not
  int operand = 0;
};

/// The number's bits as an integer literal.
std::string bits_of(double value, DType dtype) {
  const HostTensor scalar = HostTensor::scalar(dtype, value);
  std::uint64_t bits = 0;
  std::memcpy(&bits, scalar.data(), static_cast<std::size_t>(scalar.byte_count()));
  return fmt::format("{:#x}", bits);
}

std::size_t axis_of(const Node& node, std::size_t rank) {
  const std::int64_t axis = node.attributes().integer("axis");
  return static_cast<std::size_t>(axis < 0 ? axis + static_cast<std::int64_t>(rank) : axis);
}

/// All elements of the operand, each to the place in the result with the same numbers.
Move whole(const View& from, const View& to, const std::vector<std::int64_t>& extents) {
  Move move;
  move.extents = extents;
  move.from = {from.type.dtype, from.strides};
  move.to = {to.type.dtype, to.strides};
  move.guard = {DType::i64, std::vector<std::int64_t>(extents.size(), 0)};
  return move;
}

/// skew y[i, j] = x[i, d], unskew y[i, d] = x[i, j], d the distance of i and j.
void shear(Move& move, const Node& node, const std::vector<std::int64_t>& from) {
  const std::size_t row = from.size() - 2;
  const std::size_t column = row + 1;
  const bool mirrored = node.attributes().text("distance") == "i-j";
  std::vector<std::int64_t>& along = move.from.strides;
  const std::int64_t step = along[column];
  const std::int64_t rows = from[row];
  if (node.is("skew")) {  // d = j - i + rows - 1, or i - j + columns - 1
    const std::int64_t columns = from[column] - rows + 1;
    along[row] += mirrored ? step : -step;
    along[column] = mirrored ? -step : step;
    move.from_offset = (mirrored ? columns - 1 : rows - 1) * step;
    return;
  }
  const std::int64_t columns = from[column];  // j = d + i - rows + 1, or i - d + columns - 1
  along[row] += step;
  along[column] = mirrored ? -step : step;
  move.guard_offset = mirrored ? columns - 1 : 1 - rows;
  move.from_offset = move.guard_offset * step;
  move.guard.strides[row] = 1;
  move.guard.strides[column] = mirrored ? -1 : 1;
  move.guard_extent = columns;
}

std::vector<Move> concat_moves(const Node& node, std::span<const View> operands,
                               const View& result) {
  std::vector<Move> moves;
  std::int64_t start = 0;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const std::vector<std::int64_t> extents = static_extents(operands[i].type.shape);
    const std::size_t axis = axis_of(node, extents.size());
    Move move = whole(operands[i], result, extents);
    move.to_offset = start * result.strides[axis];
    move.operand = static_cast<int>(i);
    start += extents[axis];
    moves.push_back(std::move(move));
  }
  return moves;
}

Move one_move(const Node& node, const View& x, const View& result) {
  const std::vector<std::int64_t> from = static_extents(x.type.shape);
  const std::vector<std::int64_t> to = static_extents(result.type.shape);
  if (node.is("reshape")) {
    const auto strides = reshaped_strides(result.type.shape, result.strides, x.type.shape);
    if (!strides) throw failure("a reshape of the GPU writes what has the strides of its operand");
    return whole(x, {{result.type.dtype, x.type.shape, {}}, *strides}, from);
  }
  Move move = whole(x, result, to);
  const Attributes& a = node.attributes();
  if (node.is("transpose")) {
    const Ints& permutation = a.ints("permutation");
    for (std::size_t i = 0; i < to.size(); ++i) {
      move.from.strides[i] = x.strides[static_cast<std::size_t>(permutation[i])];
    }
  } else if (node.is("expand")) {
    move.from = broadcast_stream(x, to);
  } else if (node.is("skew") || node.is("unskew")) {
    shear(move, node, from);
  } else if (node.attributes().has("axis")) {
    const std::size_t axis = axis_of(node, to.size());
    std::int64_t& stride = move.from.strides[axis];
    if (node.is("slice")) move.from_offset = a.integer("start") * stride;
    if (node.is("reverse")) {
      move.from_offset = (from[axis] - 1) * stride;
      stride = -stride;
    }
    if (node.is("strided_slice")) {
      move.from_offset = a.integer("start") * stride;
      stride *= a.integer("step");
    }
    if (node.is("pad")) {
      move.guard.strides[axis] = 1;
      move.guard_offset = -a.integer("before");
      move.guard_extent = from[axis];
      move.from_offset = move.guard_offset * stride;
      move.fill = bits_of(a.number("value"), result.type.dtype);
    }
  }
  return move;
}

/// "x + 12", "x - 12", "x".
std::string plus(const std::string& text, std::int64_t offset) {
  if (offset == 0) return text;
  return fmt::format("{} {} {}LL", text, offset < 0 ? '-' : '+', offset < 0 ? -offset : offset);
}

/// What the blocks of one move do, as lines that know their number as `block`, the operand as `p`
/// and the result as `q`.
struct Body {
  std::string text;
  std::int64_t blocks = 0;
};

/// A thread for neighbours of the result.
Body flat_body(const Move& move, const Loops& loops) {
  const Stream& from = loops.streams[0];
  const Stream& to = loops.streams[1];
  const bool is_guarded = move.guard_extent > 0;
  std::int64_t vector =
      vector_of({loops.extents, {loops.streams.begin(), loops.streams.begin() + 2}});
  if (from.strides.back() == 1) vector = std::gcd(vector, move.from_offset);
  if (to.strides.back() == 1) vector = std::gcd(vector, move.to_offset);
  if (is_guarded && loops.streams[2].strides.back() != 0) vector = 1;
  const std::int64_t units = loops.elements() / vector;
  const std::string_view type = bits_name(from.dtype);
  std::string text = fmt::format(
      "  const int unit = block * {} + threadIdx.x;\n  if (unit >= {}) return;\n"
      "  const int first = unit * {};\n",
      kThreads, units, vector);
  text += coordinates_text(loops, "first");
  const std::string source = plus(offset_text(from), move.from_offset);
  const std::string target = plus(offset_text(to), move.to_offset);
  text += fmt::format("  facet::Pack<{}, {}> x;\n", type, vector);
  std::string indent = "  ";
  if (is_guarded) {
    const std::string place = plus(offset_text(loops.streams[2]), move.guard_offset);
    text += fmt::format("  const long long place = {};\n  if (place >= 0 && place < {}) {{\n",
                        place, move.guard_extent);
    indent = "    ";
  }
  if (from.strides.back() == 1 || vector == 1) {
    text +=
        fmt::format("{}x = *(const facet::Pack<{}, {}>*)(p + {});\n", indent, type, vector, source);
  } else {
    text += fmt::format("{}for (int i = 0; i < {}; ++i) x.values[i] = p[{} + {}LL * i];\n", indent,
                        vector, source, from.strides.back());
  }
  if (is_guarded) {
    text += fmt::format("  }} else {{\n    for (int i = 0; i < {}; ++i) x.values[i] = {};\n  }}\n",
                        vector, move.fill);
  }
  if (to.strides.back() == 1 || vector == 1) {
    text += fmt::format("  *(facet::Pack<{}, {}>*)(q + {}) = x;\n", type, vector, target);
  } else {
    text += fmt::format("  for (int i = 0; i < {}; ++i) q[{} + {}LL * i] = x.values[i];\n", vector,
                        target, to.strides.back());
  }
  return {std::move(text), (units + kThreads - 1) / kThreads};
}

/// Tiles along loop `across`, whose elements are neighbours in the operand, and the innermost one,
/// whose elements are neighbours in the result.
Body tiled_body(const Move& move, const Loops& loops, std::size_t across) {
  const std::size_t inner = loops.extents.size() - 1;
  Loops batch;
  batch.streams.resize(2);
  for (std::size_t i = 0; i < inner; ++i) {
    if (i == across) continue;
    batch.extents.push_back(loops.extents[i]);
    for (std::size_t s = 0; s < 2; ++s)
      batch.streams[s].strides.push_back(loops.streams[s].strides[i]);
  }
  if (batch.extents.empty()) {
    batch.extents = {1};
    for (Stream& stream : batch.streams) stream.strides = {0};
  }
  const std::int64_t rows = loops.extents[across], columns = loops.extents[inner];
  const std::int64_t row_tiles = (rows + kTile - 1) / kTile;
  const std::int64_t column_tiles = (columns + kTile - 1) / kTile;
  const std::string_view type = bits_name(move.from.dtype);
  std::string text = fmt::format(
      "  __shared__ {} tile[{}][{}];\n  const int lane = threadIdx.x % {};\n"
      "  const int row = block % {} * {};\n  const int column = block / {} % {} * {};\n"
      "  const int batch = block / {};\n",
      type, kTile, kTile + 1, kTile, row_tiles, kTile, row_tiles, column_tiles, kTile,
      row_tiles * column_tiles);
  text += coordinates_text(batch, "batch");
  text +=
      fmt::format("  p += {};\n  q += {};\n", plus(offset_text(batch.streams[0]), move.from_offset),
                  plus(offset_text(batch.streams[1]), move.to_offset));
  text += fmt::format(
      "  for (int i = threadIdx.x / {0}; i < {0}; i += {1}) {{\n"
      "    if (row + lane < {2} && column + i < {3}) tile[i][lane] = p[row + lane + {4}LL * "
      "(column "
      "+ i)];\n  }}\n  __syncthreads();\n",
      kTile, kThreads / kTile, rows, columns, loops.streams[0].strides[inner]);
  text += fmt::format(
      "  for (int i = threadIdx.x / {0}; i < {0}; i += {1}) {{\n"
      "    if (column + lane < {3} && row + i < {2}) q[column + lane + {4}LL * (row + i)] = "
      "tile[lane][i];\n  }}\n",
      kTile, kThreads / kTile, rows, columns, loops.streams[1].strides[across]);
  return {std::move(text), batch.elements() * row_tiles * column_tiles};
}

Body body_of(const Move& move) {
  std::vector<std::size_t> axes(move.extents.size());
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  const std::array<Stream, 3> streams{move.from, move.to, move.guard};
  const Loops loops = loops_over(axes, move.extents, streams, 1);
  if (loops.elements() > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} elements are too many for one copy", loops.elements()));
  }
  const std::size_t inner = loops.extents.size() - 1;
  const bool lies_apart = loops.streams[0].strides[inner] > 1 &&
                          loops.streams[1].strides[inner] == 1 && move.guard_extent == 0 &&
                          loops.extents[inner] >= kLeastTiled;
  for (std::size_t i = 0; lies_apart && i < inner; ++i) {
    if (loops.streams[0].strides[i] == 1 && loops.extents[i] >= kLeastTiled) {
      return tiled_body(move, loops, i);
    }
  }
  return flat_body(move, loops);
}

/// One kernel for all moves: the blocks of the first, then those of the second, and so on.
KernelSource kernel_of(const std::vector<Move>& moves, const View& result) {
  const std::string_view type = bits_name(result.type.dtype);
  Parameters parameters;
  std::string text;
  std::int64_t blocks = 0;
  for (std::size_t i = 0; i < moves.size(); ++i) {
    const Body body = body_of(moves[i]);
    const std::string name = moves.size() == 1 ? "p" : fmt::format("p{}", i);
    parameters.operand(moves[i].operand, type, name);
    if (moves.size() == 1) {
      text = "  const int block = blockIdx.x;\n" + body.text;
    } else {
      text += fmt::format(
          "  if (blockIdx.x >= {0} && blockIdx.x < {1}) {{\n  const int block = blockIdx.x - {0};\n"
          "  const {2}* p = {3};\n{4}  return;\n  }}\n",
          blocks, blocks + body.blocks, type, name, body.text);
    }
    blocks += body.blocks;
  }
  parameters.result(0, type, "q");
  KernelSource kernel = parameters.begin("facet_copy", kThreads, blocks);
  kernel.text += text + "}\n";
  return kernel;
}

}  // namespace

bool is_copy(const Node& node) {
  for (const char* op :
       {"transpose", "concat", "slice", "strided_slice", "reverse", "expand", "reorder", "reshape",
        "skew", "unskew", "stop_gradient", "straight_through", "dropout"}) {
    if (node.is(op)) return true;
  }
  return node.is("pad") && node.attributes().text("mode") == "constant";
}

KernelSequence copy_kernels(const Node& node, std::span<const View> operands, const View& result) {
  if (!is_copy(node)) throw failure(fmt::format("'{}' is no copy", node.kind()));
  for (const View* view : {&operands[0], &result}) {
    if (view->strides.size() == view->type.shape.size()) continue;
    throw failure(fmt::format("the GPU copies plain layouts, not {}", to_string(view->type)));
  }
  const std::vector<Move> moves = node.is("concat")
                                      ? concat_moves(node, operands, result)
                                      : std::vector<Move>{one_move(node, operands[0], result)};
  return {{kernel_of(moves, result)}, 0};
}

}  // namespace facet::cuda
