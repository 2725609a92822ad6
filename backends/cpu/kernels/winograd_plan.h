#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "backends/cpu/kernels/direct_plan.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/winograd_loops.h"

namespace facet::cpu {

/// A convolution by Winograd's algorithm, or the gradient of one's x, with everything resolved but
/// the addresses.
struct WinogradPlan {
  static constexpr std::int64_t kFloat = 4;
  static constexpr std::int64_t kLine = 64;

  DirectPlan conv;
  const WinogradLoops* loops = nullptr;
  bool is_gradient = false;  ///< of a convolution's x: its channels are the weights' first axis
  std::int64_t tile_rows = 0, tile_columns = 0;  ///< of 2 x 2 results, per image
  std::int64_t in_row = 0;                       ///< channels of a transformed pixel, padded
  std::int64_t group = 0;                        ///< tiles that are transformed together
  std::int64_t threads = 1;                      ///< that have scratch of their own
  /// Of tiles and transformed weights the smaller is made ahead and read by all threads. Usually
  /// that is the weights, and threads share the tiles, group by group. Of a few tiles (`by_blocks`,
  /// all of them are one group) threads share the blocks of channels, and each transforms a block's
  /// weights into its own cache where it needs them. The bits are the same.
  bool by_blocks = false;

  bool transforms_blocks() const { return by_blocks && !conv.transformed_weights; }
  std::int64_t out_row() const { return conv.blocks() * conv.lanes(); }
  std::int64_t tiles() const { return conv.images * tile_rows * tile_columns; }
  std::int64_t pair() const { return conv.element() == 2 ? 2 : 1; }
  /// From one position to the next: no power of two, which would crowd the cache. Of transformed
  /// weights and patches in elements, of sums in floats.
  std::int64_t u_step() const {
    return conv.channels * (transforms_blocks() ? conv.lanes() : out_row()) + kLine;
  }
  std::int64_t v_step() const { return group * in_row + kLine; }
  std::int64_t m_step() const { return group * conv.lanes() + kDirectLanes; }

  /// Scratch, in bytes: transformed weights, a bias, a pixel of zeros, then each thread's patches
  /// [positions][tiles][in_row] and sums [positions][tiles][lanes] of a block. By blocks, weights
  /// (of a block) and patches (of all tiles) change places. Weights that come transformed are not
  /// among it.
  std::int64_t bias_at() const {
    return by_blocks ? patch_bytes() : conv.transformed_weights ? 0 : weight_bytes();
  }
  std::int64_t zeros_at() const { return bias_at() + out_row() * kFloat; }
  std::int64_t threads_at() const {
    const std::int64_t zeros = std::max(in_row * conv.element(), conv.lanes() * kFloat);
    return rounded_up(zeros_at() + zeros, kLine);
  }
  std::int64_t weight_bytes() const {
    return rounded_up(kWinogradPositions * u_step() * conv.element(), kLine);
  }
  std::int64_t patch_bytes() const {
    return rounded_up(kWinogradPositions * v_step() * conv.element(), kLine);
  }
  std::int64_t sums_at() const {
    return !by_blocks ? patch_bytes() : conv.transformed_weights ? 0 : weight_bytes();
  }
  std::int64_t per_thread() const { return sums_at() + kWinogradPositions * m_step() * kFloat; }

  std::string implementation() const { return std::string("winograd:") + loops->name; }
  /// Rows [begin, end), the first of them to `u`.
  void transform_weights(const std::byte* weights, std::int64_t begin, std::int64_t end,
                         std::byte* u) const;
  /// All of them, to `u`, by all threads.
  void transform_all_weights(const std::byte* weights, std::byte* u) const;
  std::int64_t weight_rows() const { return conv.blocks() * conv.channels / pair(); }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(threads_at() + threads * per_thread());
  }
  void run(const Addresses& addresses) const;
};

}  // namespace facet::cpu
