#pragma once

#include <cstdint>

/// The inner loops of direct convolution, compiled for the instruction sets that have enough
/// registers for them.
namespace facet::cpu {

/// Channels of one vector of sums.
inline constexpr std::int64_t kDirectLanes = 16;
inline constexpr int kDirectVectors = 4;  ///< most vectors of a tile
inline constexpr int kDirectPixels = 12;  ///< most pixels of a tile

/// Where one vector of results goes, and how.
struct DirectStore {
  void* y = nullptr;                ///< of the result's pixel 0
  std::int64_t pitch = 0;           ///< bytes from pixel to pixel
  std::int64_t channels = 0;        ///< to write, 16 at most
  const void* residual = nullptr;   ///< added first, of pixel 0 and the input's type; null without
  std::int64_t residual_pitch = 0;  ///< bytes from pixel to pixel
  bool relu = false;
  const float* slopes = nullptr;  ///< of a prelu, one per channel; null without
};

/// One tile of results, pixels x vectors of 16 channels, kept in registers while it sums
///   sums[p] = init[p] + sum over taps t, channels c of x[t][p][c] * weights[t][c].
struct DirectTile {
  const void* const* x = nullptr;  ///< [taps][pixels]: the input pixels under the window
  std::int64_t x_offset = 0;       ///< bytes from there to the first channel of the sum
  std::int64_t taps = 0;
  std::int64_t channels = 0;          ///< of the sum; even for bf16
  const void* weights = nullptr;      ///< [taps][channels][16 * vectors], bf16 in pairs of channels
  std::int64_t weights_step = 0;      ///< elements from one channel (pair) to the next
  std::int64_t weights_tap_step = 0;  ///< elements from one tap to the next
  const float* init = nullptr;        ///< pixel p starts from init + p * init_step
  std::int64_t init_step = 0;         ///< 0: all pixels from the same, a bias
  float* sums = nullptr;              ///< [pixels][16 * vectors]
  /// [vectors], or null to leave the sums in `sums`.
  const DirectStore* stores = nullptr;
  std::int64_t pixel = 0;  ///< of the result, where stores begin
  bool narrow = false;     ///< stores write bf16 (tiles on bf16 only)
  /// [next_taps][pixels]: input pixels of the next tile, whose channels [next_first, next_last) are
  /// fetched into the cache during this one.
  const void* const* next = nullptr;
  std::int64_t next_taps = 0;
  std::int64_t next_first = 0, next_last = 0;
  /// [vectors], of which lines of results and residuals are fetched, too: a store that misses holds
  /// up all behind it. Null to fetch none.
  const DirectStore* fetched = nullptr;
  std::int64_t fetched_pixel = 0;
  /// Weights that tiles behind will read: asked for into the second-level cache, `ahead_step` bytes
  /// further with each channel (pair). Something near with a step of 0 to ask for none.
  const void* ahead = nullptr;
  std::int64_t ahead_step = 0;
};
using DirectFunction = void (*)(const DirectTile&);

struct DirectTiles {
  const char* name;
  DirectFunction functions[kDirectVectors][kDirectPixels];  ///< [vectors - 1][pixels - 1]
  int pixels[kDirectVectors];  ///< the largest tile whose sums stay in registers
  int vectors;                 ///< most of them in a tile
};

/// Null when they were not compiled in; whether the machine runs them is the caller's question.
const DirectTiles* direct_tiles_avx2();         ///< f32
const DirectTiles* direct_tiles_avx512();       ///< f32
const DirectTiles* direct_tiles_avx512_bf16();  ///< bf16

}  // namespace facet::cpu
