#pragma once

#include <cstdint>

/// The inner loops of the CPU kernels, compiled for several instruction sets. All arithmetic is
/// f32; bf16 and f16 are widened on load and rounded to nearest even on store. Nothing here
/// allocates, throws or starts threads.
namespace facet::cpu {

/// Element types the loops read and write, in table order.
enum class Float : std::uint8_t { f32, bf16, f16 };
inline constexpr int kFloats = 3;

/// Scalar functions, in table order. maximum, minimum and relu hand a NaN on.
enum class Function : std::uint8_t {
  relu,
  sigmoid,
  tanh,
  exp,
  log,
  sqrt,
  rsqrt,
  reciprocal,
  neg,
  abs,
  square,
  erf,
  floor,
  ceil,
  round,  ///< halves to the even whole number
  sign,
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  asinh,
  acosh,
  atanh,
  add,
  sub,
  mul,
  div,
  maximum,
  minimum,
  pow,
  prelu,
  greater,            ///< 1 where a > b, else 0
  equal,              ///< 1 where a = b, else 0
  greater_equal,      ///< 1 where a >= b, else 0
  where,              ///< b where a != 0, else c
  where_positive,     ///< b where a > 0, else 0
  add_relu,           ///< max(a + b, 0)
  multiply_add,       ///< a * b + c
  multiply_add_relu,  ///< max(a * b + c, 0)
};
inline constexpr int kFunctions = 43;

enum class Fold : std::uint8_t { sum, max, min };
inline constexpr int kFolds = 3;

/// Whether the function reads bf16 as its argument `argument`. The others take f32 only: their code
/// would grow more than bf16 gains.
constexpr bool takes_bf16(Function function, int argument) {
  switch (function) {
    case Function::relu:
    case Function::sigmoid:
    case Function::add:
    case Function::sub:
    case Function::mul:
    case Function::prelu:
    case Function::where_positive:
    case Function::add_relu:
      return true;
    case Function::greater:
      return argument == 0;
    case Function::where:
      return argument != 0;
    case Function::multiply_add:
    case Function::multiply_add_relu:
      return argument != 1;
    default:
      return false;
  }
}

/// A 2-D argument of a tile function: f32, or bf16 where the function takes it, rows `row` elements
/// apart. A row is either contiguous (`varies`) or one f32 that stands for all columns.
struct Tile {
  const void* data = nullptr;
  std::int64_t row = 0;
  bool varies = true;
  Float type = Float::f32;
};

/// y[r, c] = f(arguments[r, c]) for rows x cols; the rows of y are contiguous and `y_row` apart.
/// y may be exactly one of the arguments.
using TileFunction = void (*)(float* y, std::int64_t y_row, const Tile* arguments,
                              std::int64_t rows, std::int64_t cols);
/// n contiguous elements.
using Widen = void (*)(const void* x, float* y, std::int64_t n);
using Narrow = void (*)(const float* x, void* y, std::int64_t n);
/// y[c] = fold over i < count[0], j < count[1] of x[i * stride[0] + j * stride[1] + c], c < cols.
using FoldRows = void (*)(const void* x, const std::int64_t count[2], const std::int64_t stride[2],
                          std::int64_t cols, float* y);
/// fold_rows of `windows` windows, each x_step elements behind the one before it; their results are
/// y_step apart. What later windows read is asked for ahead.
using FoldWindows = void (*)(const void* x, const std::int64_t count[2],
                             const std::int64_t stride[2], std::int64_t cols, float* y,
                             std::int64_t windows, std::int64_t x_step, std::int64_t y_step);
/// y[c] = fold over i < count of x[c * count + i], c < n.
using FoldSide = void (*)(const void* x, std::int64_t count, std::int64_t n, float* y);
/// Fold of n contiguous elements.
using FoldRun = float (*)(const void* x, std::int64_t n);
/// y[j * y_row + i] = x[i * x_row + j] for i < rows, j < cols. The type of x and y is the loop's.
using Transpose = void (*)(const void* x, std::int64_t x_row, void* y, std::int64_t y_row,
                           std::int64_t rows, std::int64_t cols);

/// One instruction set's loops.
struct VectorLoops {
  const char* name;  ///< "baseline", "avx2", "avx512", "avx512_bf16"
  TileFunction functions[kFunctions];
  Widen widen[kFloats];
  Narrow narrow[kFloats];
  FoldRows fold_rows[kFolds][kFloats];
  FoldWindows fold_windows[kFolds][kFloats];
  FoldSide fold_side[kFolds][kFloats];
  FoldRun fold_run[kFolds][kFloats];
  Transpose transpose16;  ///< elements of 2 bytes
  Transpose transpose32;  ///< elements of 4 bytes
};

/// The loops of each instruction set, or null when they were not compiled in.
const VectorLoops* baseline_loops();
const VectorLoops* avx2_loops();
const VectorLoops* avx512_loops();
/// avx512 with the instruction that rounds to bf16; it takes subnormal numbers for zero.
const VectorLoops* avx512_bf16_loops();

/// Whether this machine can run the loops.
bool runs_here(const VectorLoops& loops);
/// The best loops this machine can run.
const VectorLoops& vector_loops();

}  // namespace facet::cpu
