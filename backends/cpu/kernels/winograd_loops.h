#pragma once

#include <cstdint>

#include "backends/cpu/kernels/direct_tiles.h"

/// The three transforms of Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, "Fast
/// Algorithms for Convolutional Neural Networks", 2015, section 4.1): a tile of 2 x 2 results of a
/// 3 x 3 window costs 16 products a channel instead of 36. Position p = 4 * row + column of the 4 x
/// 4 transformed patch; values of one position lie together, those of the next `step` elements
/// behind.
namespace facet::cpu {

inline constexpr int kWinogradPositions = 16;

struct WinogradLoops {
  /// weights [9][16 * vectors], taps `tap_step` elements apart -> u at 16 positions.
  void (*weights)(const float* weights, std::int64_t tap_step, std::int64_t vectors, float* u,
                  std::int64_t step);
  /// The same from row-major weights [channels][3][3], the window turned by half a circle: the
  /// first `channels` lanes, zeros in the others up to 16 * vectors.
  void (*turned_weights)(const float* weights, std::int64_t channels, std::int64_t vectors,
                         float* u, std::int64_t step);
  /// The 16 pixels of a patch, row by row, `channels` of each -> v at 16 positions.
  void (*input)(const float* const* pixels, std::int64_t channels, float* v, std::int64_t step);
  /// Sums at 16 positions -> 2 x 2 pixels of `channels` channels, with bias and activation. A pixel
  /// outside of the result is null. `slopes` is null without a prelu.
  void (*output)(const float* m, std::int64_t step, std::int64_t channels, const float* bias,
                 bool relu, const float* slopes, float* const* pixels);
  /// The backward of `output`: 2 x 2 pixels of dy (null outside of the image) -> z at 16 positions,
  /// in blocks of 16 * vectors channels `block_step` apart.
  void (*output_gradient)(const float* const* pixels, std::int64_t channels, std::int64_t vectors,
                          float* z, std::int64_t block_step, std::int64_t step);
  /// The backward of `weights`: sums at 16 positions -> gradients [9][16 * vectors].
  void (*weights_gradient)(const float* sums, std::int64_t step, std::int64_t vectors,
                           float* gradients);
};

/// Null when they were not compiled in; they need AVX-512F.
const WinogradLoops* winograd_loops();

}  // namespace facet::cpu
