#pragma once

#include <cstdint>

#include "backends/cpu/kernels/vector.h"

/// The inner loops of the gate kernel, compiled for several instruction sets like those of
/// vector.h. A map is walked pixel by pixel: the channels of a pixel are contiguous, pixels `pitch`
/// elements apart. All arithmetic is f32. Nothing here allocates, throws or starts threads.
namespace facet::cpu {

/// Lanes that hidden channels of the stage pixels are padded to.
inline constexpr std::int64_t kGateHidden = 8;
/// Floats that rows of a padded window map are a multiple of; covers every vector register.
inline constexpr std::int64_t kGateRow = 16;

/// Pixels of a map that lie side by side in memory.
struct GatePixels {
  const void* x = nullptr;
  std::int64_t pitch = 0;
  std::int64_t count = 0;
  std::int64_t channels = 0;
};

/// The stage pixels: `weight` as `pack` left it, and hidden values padded to kGateHidden with
/// zeros.
struct GateMap {
  const void* weight = nullptr;
  const float* bias = nullptr;    ///< b1
  const float* second = nullptr;  ///< w2
  float last_bias = 0;            ///< b2
  std::int64_t hidden = 0;        ///< padded
};

/// The stage channels. `max` and what belongs to it are read only if `max` is given.
struct GateVote {
  const float* w1 = nullptr;  ///< [hidden, channels]
  const float* b1 = nullptr;  ///< or null
  const float* w2 = nullptr;  ///< [hidden, channels]
  const float* b2 = nullptr;  ///< or null
  float gamma = 1;
  std::int64_t hidden = 0, channels = 0;
  const float* mean = nullptr;
  const float* max = nullptr;
};

/// Rows of the stage window. maps: the mean over channels, then the maximum, each padded by
/// kernel / 2 on all sides with zeros, rows of `row` floats.
struct GateWindow {
  const float* maps = nullptr;
  std::int64_t map = 0;  ///< floats of one of them
  std::int64_t row = 0;
  const float* weight = nullptr;  ///< [2, kernel, kernel]
  float bias = 0;
  std::int64_t kernel = 0, width = 0;
};

/// y = x * scale * map + residual, all rows of pixels.
struct GateResult {
  const float* scale = nullptr;    ///< per channel
  const float* map = nullptr;      ///< per pixel
  const void* residual = nullptr;  ///< or null
  std::int64_t residual_pitch = 0;
  void* y = nullptr;
  std::int64_t y_pitch = 0;
  bool relu = false;
};

/// One instruction set's loops, by the type of x (and of residual and y).
struct GateLoops {
  const char* name;
  /// Whether the stage pixels multiplies bf16 pairs: its weights are rounded to bf16 then.
  bool bf16_products;
  /// sum[c] += x[p, c] * map[p]; max[c] = larger of it and x[p, c] * map[p] unless max is null.
  void (*fold[kFloats])(const GatePixels& x, const float* map, float* sum, float* max);
  /// mean[p], max[p] over c of x[p, c] * scale[c].
  void (*pool[kFloats])(const GatePixels& x, const float* scale, float* mean, float* max);
  /// map[p] *= the stage pixels' gate on x[p, c] * map[p].
  void (*map[kFloats])(const GatePixels& x, const GateMap& stage, float* map);
  /// Weights w1 [channels, hidden] times scale[c] for `map` on this type; the packed ones take 4
  /// bytes for each of channels (rounded up to even) x hidden (padded).
  void (*pack[kFloats])(const float* w1, const float* scale, std::int64_t channels,
                        std::int64_t hidden, void* packed);
  /// scale[c] *= the stage channels' gate. `work`: 2 * hidden floats.
  void (*vote)(const GateVote& stage, float* work, float* scale);
  /// map[p] *= the stage window's gate for pixels begin <= p < end.
  void (*window)(const GateWindow& stage, std::int64_t begin, std::int64_t end, float* map);
  void (*apply[kFloats])(const GatePixels& x, const GateResult& result);
};

/// The loops of each instruction set, or null when they were not compiled in.
const GateLoops* baseline_gate_loops();
const GateLoops* avx2_gate_loops();
const GateLoops* avx512_gate_loops();
const GateLoops* avx512_bf16_gate_loops();
/// The best loops this machine can run.
const GateLoops& gate_loops();

}  // namespace facet::cpu
