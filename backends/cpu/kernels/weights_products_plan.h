#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "backends/cpu/kernels/direct_plan.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/winograd_loops.h"

// Weight gradients as products of matrices, [channels of x][tiles] by [tiles][channels of dy], one
// at each position: for any window a position is a tap and a tile a pixel of dy, with the pixel of
// x that the tap lays over it. For a 3 x 3 window moved by one there is a cheaper form: its
// convolution is y = A^T [(G g G^T) * (B^T d B)] A for every tile of 2 x 2 results, channels summed
// over (winograd_loops.h); so the gradient of g is G^T [sum over tiles of (B^T d B) * (A dY A^T)]
// G, with products at 16 positions for 36.
//
// Tiles are cut into parts, each with sums of its own, and a part's channels of x, or of dy where
// those are more, into ranges: a unit is a part's range, done by one thread, group of tiles by
// group:
//   1. tiles of dy, z [position][block][tile][lanes], bf16 in pairs of tiles, for all taps the
//   same;
// and for some panels of the range's channels
//   2. tiles of x, v [panel][position][tile][channel of the panel], likewise;
//   3. the part's sums u [position][block][channel][lanes] take up what the group's tiles give.
// Nothing goes from thread to thread but finished sums: a line of the cache that one core has
// written costs the other more than the products on it. Ranges depend on the number of threads and
// do not touch bits; parts, whose sums are added in the end, depend on shapes alone.

namespace facet::cpu {

/// The gradient of a convolution's weights as products, with everything resolved but the addresses.
struct WeightsProductsPlan {
  static constexpr std::int64_t kFloat = 4;
  static constexpr std::int64_t kLine = 64;
  /// Channels of x whose products follow each other, a multiple of all largest tiles: those of a
  /// chunk of tiles stay in the first-level cache beside a block of dy's channels.
  static constexpr std::int64_t kPanelChannels = 144;

  bool is_winograd = false;
  const DirectTiles* tiles = nullptr;
  const WinogradLoops* loops = nullptr;
  std::int64_t size = 4;  ///< bytes of an element of dy and x
  std::int64_t images = 0, height = 0, width = 0, channels = 0;  ///< of x
  std::int64_t out_height = 0, out_width = 0, out_channels = 0;  ///< of dy
  std::int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1}, pad[2] = {0, 0};
  std::int64_t x_pitch = 0, dy_pitch = 0;  ///< elements from pixel to pixel
  int vectors = 1;                         ///< of a block of dy's channels
  std::int64_t parts = 1;                  ///< of the tiles
  std::int64_t group = 0;                  ///< tiles that are transformed together
  std::int64_t panels = 1;                 ///< of x's channels, likewise
  std::int64_t threads = 1;                ///< that have scratch of their own

  std::int64_t pair() const { return size == 2 ? 2 : 1; }  ///< tiles that are multiplied together
  std::int64_t taps() const { return kernel[0] * kernel[1]; }
  std::int64_t positions() const { return is_winograd ? kWinogradPositions : taps(); }
  std::int64_t dy_positions() const { return is_winograd ? kWinogradPositions : 1; }
  std::int64_t tile_extent() const { return is_winograd ? 2 : 1; }
  /// Whether tile i is pixel i of x, too.
  bool is_pixelwise() const {
    return taps() == 1 && stride[0] == 1 && stride[1] == 1 && height == out_height &&
           width == out_width;
  }
  std::int64_t tile_rows() const { return (out_height + tile_extent() - 1) / tile_extent(); }
  std::int64_t tile_columns() const { return (out_width + tile_extent() - 1) / tile_extent(); }
  std::int64_t tile_count() const { return images * tile_rows() * tile_columns(); }
  std::int64_t lanes() const { return vectors * kDirectLanes; }
  std::int64_t blocks() const { return (out_channels + lanes() - 1) / lanes(); }
  int vectors_of(std::int64_t block) const {
    const std::int64_t left = out_channels - block * lanes();
    return static_cast<int>(
        std::min<std::int64_t>((left + kDirectLanes - 1) / kDirectLanes, vectors));
  }
  /// Whether ranges are of dy's channels: each of them packs all channels of the other one.
  bool cuts_dy() const { return out_channels > channels; }
  /// Ranges are of whole vectors, or of dy's blocks.
  std::int64_t in_vectors() const { return (channels + kDirectLanes - 1) / kDirectLanes; }

  /// Elements from a tile's channels to the next tile's, and from position to position: no powers
  /// of two, which would crowd the cache.
  std::int64_t v_row() const {
    return std::min(in_vectors() * kDirectLanes, kPanelChannels) + kDirectLanes;
  }
  std::int64_t v_step() const { return group * v_row() + kLine; }
  std::int64_t z_step() const { return blocks() * group * lanes() + kLine; }
  std::int64_t u_step() const { return blocks() * channels * lanes(); }
  std::int64_t part_floats() const { return positions() * u_step(); }
  /// Scratch, in bytes: u of each part, a pixel of zeros, and each thread's v and z.
  std::int64_t zeros_at() const { return rounded_up(parts * part_floats() * kFloat, kLine); }
  std::int64_t threads_at() const {
    const std::int64_t widest = std::max(in_vectors() * kDirectLanes, blocks() * lanes());
    return zeros_at() + rounded_up(widest * size, kLine);
  }
  std::int64_t panel_step() const { return positions() * v_step(); }
  std::int64_t per_thread() const {
    return rounded_up((panels * panel_step() + dy_positions() * z_step()) * size, kLine);
  }

  std::string implementation() const {
    return std::string(is_winograd ? "winograd_weights:" : "weights_products:") + loops->name;
  }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(threads_at() + threads * per_thread());
  }
  void run(const Addresses& addresses) const;
};

}  // namespace facet::cpu
