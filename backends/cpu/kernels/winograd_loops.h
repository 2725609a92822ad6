#pragma once

#include <cstdint>

#include "backends/cpu/kernels/direct_tiles.h"

/// The transforms of Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, "Fast Algorithms for
/// Convolutional Neural Networks", 2015, section 4.1): a tile of 2 x 2 results of a 3 x 3 window
/// costs 16 products a channel instead of 36. Position p = 4 * row + column of the 4 x 4
/// transformed patch; values of one position lie together, those of the next `step` behind.
///
/// Images, weights and what is multiplied are of one element type, f32 or bf16; arithmetic and sums
/// are f32. What is summed over, channels or tiles, is multiplied one by one in f32 and in pairs in
/// bf16: [pair][lanes][2]. Steps count elements.
namespace facet::cpu {

inline constexpr int kWinogradPositions = 16;

/// Where the 2 x 2 results of a tile go, and how. A pixel outside of the result is null.
struct WinogradStore {
  void* pixels[4] = {};
  const void* residuals[4] = {};  ///< added first, beside pixels that are not null
  bool adds = false;              ///< whether there are residuals
  bool relu = false;
  const float* slopes = nullptr;  ///< of a prelu, one per channel; null without
};

/// sums[p][lane] = sum over rows r of v[r][p] * z[r][lane], for a number of p and of vectors of 16
/// lanes; a row of bf16 is a pair, v [pair][p][2] and z [pair][lanes][2].
struct WinogradProduct {
  const void* v = nullptr;
  std::int64_t v_step = 0;  ///< elements from p to p; of row products from row to row
  const void* z = nullptr;
  std::int64_t z_step = 0;  ///< elements from row to row
  std::int64_t rows = 0;
  float* sums = nullptr;  ///< [p][16 * vectors]
  bool adds = false;      ///< to what the sums hold
};
using WinogradMultiply = void (*)(const WinogradProduct&);

/// Windows of row-major weights [..][..][3][3], `lane_step` elements from lane to lane. For bf16
/// the second of a pair lies `pair_step` behind.
struct WinogradRows {
  const void* weights = nullptr;
  std::int64_t lane_step = 0, pair_step = 0;
  std::int64_t lanes = 0;  ///< that there are; the others become zeros
  bool turned = false;     ///< each window by half a circle
};

/// Pixels that follow each other in memory, in blocks of channels: those of a row (a pair of pixels
/// for bf16) lie `to_step` behind those of the row before, a block's `block_step` behind the block
/// before. Behind an odd last pixel stand zeros. Asks for pixels `ahead` ones later.
struct PixelPack {
  const void* pixels = nullptr;
  std::int64_t pitch = 0;  ///< elements from pixel to pixel
  std::int64_t count = 0, channels = 0;
  std::int64_t block = 0;  ///< channels
  void* to = nullptr;
  std::int64_t to_step = 0, block_step = 0;
  std::int64_t ahead = 0;
};

struct WinogradLoops {
  const char* name;
  /// weights [9][16 * vectors] (pairs of channels for bf16), taps `tap_step` apart -> u at 16
  /// positions.
  void (*weights)(const void* weights, std::int64_t tap_step, std::int64_t vectors, void* u,
                  std::int64_t step);
  /// The same of windows that lie in rows, for 16 * vectors lanes.
  void (*row_weights)(const WinogradRows& rows, std::int64_t vectors, void* u, std::int64_t step);
  /// The 16 pixels of a patch, row by row, `channels` of each -> v at 16 positions.
  void (*input)(const void* const* pixels, std::int64_t channels, void* v, std::int64_t step);
  /// The same of one patch (f32) or, side by side, two (bf16): v [channel][2] at 16 positions.
  void (*patches)(const void* const* pixels, std::int64_t channels, void* v, std::int64_t step);
  /// Pixels as they are: one (f32), or two side by side (bf16).
  void (*pack)(const void* const* pixels, std::int64_t channels, void* v);
  void (*pack_pixels)(const PixelPack& pack);
  /// Sums at 16 positions -> 2 x 2 pixels of `channels` channels, with bias, residual, activation.
  void (*output)(const float* m, std::int64_t step, std::int64_t channels, const float* bias,
                 const WinogradStore& store);
  /// The backward of `output` for a tile (f32) or two (bf16): 2 x 2 pixels of dy each, null outside
  /// of the image -> z at 16 positions, in blocks of 16 * vectors channels `block_step` apart.
  void (*output_gradient)(const void* const* pixels, std::int64_t channels, std::int64_t vectors,
                          void* z, std::int64_t block_step, std::int64_t step);
  /// The backward of `weights`: sums at 16 positions -> gradients [9][16 * vectors].
  void (*weights_gradient)(const float* sums, std::int64_t step, std::int64_t vectors,
                           float* gradients);
  /// [vectors - 1][number of p - 1], as large as direct_tiles.h's tiles. What a p has of all rows
  /// lies together: p are tiles, rows are channels.
  WinogradMultiply products[kDirectVectors][kDirectPixels];
  /// What a row has of all p lies together: p are channels, rows are tiles.
  WinogradMultiply row_products[kDirectVectors][kDirectPixels];
};

/// Null when they were not compiled in; whether the machine runs them is the caller's question.
const WinogradLoops* winograd_loops_avx2();         ///< f32
const WinogradLoops* winograd_loops_avx512();       ///< f32
const WinogradLoops* winograd_loops_avx512_bf16();  ///< bf16

}  // namespace facet::cpu
