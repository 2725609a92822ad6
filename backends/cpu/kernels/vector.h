#pragma once

#include <cstdint>

/// The inner loops of the CPU kernels, compiled for several instruction sets. All arithmetic is f32;
/// bf16 and f16 are widened on load and rounded to nearest even on store. Nothing here allocates,
/// throws or starts threads.
namespace facet::cpu {

/// Element types the loops read and write, in table order.
enum class Float : std::uint8_t { f32, bf16, f16 };
inline constexpr int kFloats = 3;

/// Scalar functions, in table order. maximum, minimum and relu hand a NaN on.
enum class Function : std::uint8_t {
  relu, sigmoid, tanh, exp, log, sqrt, rsqrt, reciprocal, neg, abs, square, erf,
  add, sub, mul, div, maximum, minimum, pow, prelu,
  multiply_add,  ///< a * b + c
};
inline constexpr int kFunctions = 21;

enum class Fold : std::uint8_t { sum, max };
inline constexpr int kFolds = 2;

/// A 2-D operand of a tile. `row` is in elements; a row is either contiguous (`varies`) or one
/// element that stands for all columns.
struct Tile {
  const float* data = nullptr;
  std::int64_t row = 0;
  bool varies = true;
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
/// Fold of n contiguous elements.
using FoldRun = float (*)(const void* x, std::int64_t n);
/// y[j * y_row + i] = x[i * x_row + j] for i < rows, j < cols. The type of x and y is the loop's.
using Transpose = void (*)(const void* x, std::int64_t x_row, void* y, std::int64_t y_row,
                           std::int64_t rows, std::int64_t cols);

/// One instruction set's loops.
struct VectorLoops {
  const char* name;  ///< "baseline", "avx2", "avx512"
  TileFunction functions[kFunctions];
  Widen widen[kFloats];
  Narrow narrow[kFloats];
  FoldRows fold_rows[kFolds][kFloats];
  FoldRun fold_run[kFolds][kFloats];
  Transpose transpose16;  ///< elements of 2 bytes
  Transpose transpose32;  ///< elements of 4 bytes
};

/// The loops of each instruction set, or null when they were not compiled in.
const VectorLoops* baseline_loops();
const VectorLoops* avx2_loops();
const VectorLoops* avx512_loops();

/// Whether this machine can run the loops.
bool runs_here(const VectorLoops& loops);
/// The best loops this machine can run.
const VectorLoops& vector_loops();

}  // namespace facet::cpu
