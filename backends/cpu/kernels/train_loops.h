#pragma once

#include <cstdint>

#include "backends/cpu/kernels/vector.h"

/// The inner loops of the training kernels, compiled for several instruction sets like those of
/// vector.h. All arithmetic is f32. Nothing here allocates, throws or starts threads.
namespace facet::cpu {

/// Values [rows][cols] of the loop's element type: columns contiguous, rows `pitch` elements apart.
struct Rows {
  const void* x = nullptr;
  std::int64_t pitch = 0;
};
struct RowsOut {
  void* y = nullptr;
  std::int64_t pitch = 0;
};

/// sum[c] += d, squares[c] += d * d over all rows, d = x - shift[c].
using ShiftedSums = void (*)(Rows x, std::int64_t rows, std::int64_t cols, const float* shift,
                             float* sum, float* squares);
/// y = (x - mean[c]) * factor[c] + bias[c]; y may be x.
using Normalize = void (*)(Rows x, RowsOut y, std::int64_t rows, std::int64_t cols,
                           const float* mean, const float* factor, const float* bias);
/// sum[c] += dy, product[c] += dy * (x - mean[c]) over all rows.
using ProductSums = void (*)(Rows dy, Rows x, std::int64_t rows, std::int64_t cols,
                             const float* mean, float* sum, float* product);
/// dx = dy * factor[c] + (x - mean[c]) * slope[c] + bias[c]; dx may be dy or x.
using NormalizeBwd = void (*)(Rows dy, Rows x, RowsOut dx, std::int64_t rows, std::int64_t cols,
                              const float* mean, const float* factor, const float* slope,
                              const float* bias);
/// y = z > 0 ? z : slope[c] * z, z = (x - mean[c]) * factor[c] + bias[c] + r; without r (null)
/// nothing is added. y may be x or r.
using NormalizeTail = void (*)(Rows x, Rows r, RowsOut y, std::int64_t rows, std::int64_t cols,
                               const float* mean, const float* factor, const float* bias,
                               const float* slope);
/// What the tail gets back: with z as above (no r), g = z > 0 ? dy : slope[c] * dy;
/// sum[c] += g, product[c] += g * (x - mean[c]), dslope[c] += dy * min(z, 0) over all rows.
using TailSums = void (*)(Rows dy, Rows x, std::int64_t rows, std::int64_t cols, const float* mean,
                          const float* factor, const float* bias, const float* slope, float* sum,
                          float* product, float* dslope);
/// dx = g * a[c] + (x - mean[c]) * b[c] + d[c] with g as in TailSums; dx may be dy or x.
using NormalizeTailBwd = void (*)(Rows dy, Rows x, RowsOut dx, std::int64_t rows, std::int64_t cols,
                                  const float* mean, const float* factor, const float* bias,
                                  const float* slope, const float* a, const float* b,
                                  const float* d);
/// g = y > 0 ? dy + more : 0; sum[c] += g, product[c] += g * (x - mean[c]) over all rows; without
/// more (null) nothing is added. g may be dy or more.
using MaskedSums = void (*)(Rows dy, Rows more, Rows x, Rows y, RowsOut g, std::int64_t rows,
                            std::int64_t cols, const float* mean, float* sum, float* product);
/// dx = dy * (x > 0 ? 1 : slope[c]), dslope[c] += dy * min(x, 0) over all rows; dx may be dy or x.
using PreluBwd = void (*)(Rows dy, Rows x, RowsOut dx, std::int64_t rows, std::int64_t cols,
                          const float* slope, float* dslope);

/// One window of a max pool for `cols` channels side by side. Only the steps inside of the image
/// are given: `count` of them down and across, `x_step` elements of x apart.
struct MaxWindow {
  const void* x = nullptr;
  std::int64_t count[2] = {1, 1};
  std::int64_t x_step[2] = {0, 0};
  const void* dy = nullptr;
  float* dx = nullptr;  ///< of the first step
  std::int64_t dx_step[2] = {0, 0};
  /// Steps down that dx has; the others only compete.
  std::int64_t first = 0, last = 1;
};
/// dx[winning step][c] += dy[c]. The first largest wins; a NaN is larger than all that follow.
using MaxPoolBwd = void (*)(const MaxWindow& window, std::int64_t cols);

/// The optimizers' steps on n contiguous elements; see the ops of the same names.
struct SgdStep {
  float lr = 0, momentum = 0, weight_decay = 0;
  bool nesterov = false;
  float scale = 1;  ///< of the gradient with its decay, for lars
};
using Sgd = void (*)(const SgdStep& step, float* param, float* velocity, const float* grad,
                     std::int64_t n);
struct AdamStep {
  float beta1 = 0, beta2 = 0;
  float rest1 = 1, rest2 = 1;  ///< 1 - beta1, 1 - beta2
  float added_decay = 0;       ///< of the parameter, added to the gradient
  float keep = 1;        ///< factor of the parameter ahead of the step: 1 - lr * decoupled decay
  float rate = 0;        ///< lr / (1 - beta1^step)
  float root_scale = 1;  ///< 1 / sqrt(1 - beta2^step)
  float epsilon = 0;
};
using Adam = void (*)(const AdamStep& step, float* param, float* m, float* v, const float* grad,
                      std::int64_t n);
/// average = decay * average + (1 - decay) * param.
using Ema = void (*)(float decay, float* average, const float* param, std::int64_t n);
/// Sum of squares of n contiguous floats.
using SquareSum = float (*)(const float* x, std::int64_t n);

struct TrainLoops {
  const char* name;
  ShiftedSums shifted_sums[kFloats];
  Normalize normalize[kFloats];
  ProductSums product_sums[kFloats];
  NormalizeBwd normalize_bwd[kFloats];
  NormalizeTail normalize_tail[kFloats];
  TailSums tail_sums[kFloats];
  NormalizeTailBwd normalize_tail_bwd[kFloats];
  MaskedSums masked_sums[kFloats];
  PreluBwd prelu_bwd[kFloats];
  MaxPoolBwd max_pool_bwd[kFloats];
  Sgd sgd;
  Adam adam;
  Ema ema;
  SquareSum square_sum;
};

/// The loops of each instruction set, or null when they were not compiled in.
const TrainLoops* baseline_train_loops();
const TrainLoops* avx2_train_loops();
const TrainLoops* avx512_train_loops();
const TrainLoops* avx512_bf16_train_loops();

/// Those that vector_loops() are of.
const TrainLoops& train_loops();

}  // namespace facet::cpu
