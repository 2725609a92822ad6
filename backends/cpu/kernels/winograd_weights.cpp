#include "backends/cpu/kernels/winograd_weights.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "backends/cpu/kernels/direct_plan.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/winograd.h"
#include "backends/cpu/kernels/winograd_loops.h"
#include "ir/layout.h"

// The convolution is y = A^T [(G g G^T) * (B^T d B)] A for every tile of 2 x 2 results, channels
// summed over (winograd_loops.h); so the gradient of g is G^T [sum over tiles of (B^T d B) * (A dY
// A^T)] G: at each of 16 positions a product of matrices, [channels of x][tiles] by
// [tiles][channels of dy]. Tiles are taken in groups. For each group
//   1. patches of x are transformed and turned, v [position][channel][tile];
//   2. tiles of dy are transformed, z [position][block][tile][lanes];
//   3. the sums u [position][block][channel][lanes] take up what the group's tiles give.
// A sum is added by one thread at a time and in the order of the groups, so its bits do not depend
// on the number of threads.

namespace facet::cpu {
namespace {

/// Transformed tiles of a group: beside the sums, in the second-level cache.
constexpr std::int64_t kGroupBytes = 512 * 1024;
/// Fewer tiles would touch the sums more often than their products are worth.
constexpr std::int64_t kFewestTiles = 64;
constexpr std::int64_t kFloat = 4;
constexpr std::int64_t kTurned = 16;  ///< tiles that are turned together

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

struct WinogradWeightsPlan {
  const DirectTiles* tiles = nullptr;
  std::int64_t images = 0, height = 0, width = 0, channels = 0;  ///< of x
  std::int64_t out_height = 0, out_width = 0, out_channels = 0;  ///< of dy
  std::int64_t pad[2] = {0, 0};
  std::int64_t x_pitch = 0, dy_pitch = 0;  ///< elements from pixel to pixel
  int vectors = 1;                         ///< of a block of dy's channels
  std::int64_t group = 0;                  ///< tiles that are transformed together
  std::int64_t threads = 1;                ///< that have room to turn patches

  std::int64_t tile_rows() const { return (out_height + 1) / 2; }
  std::int64_t tile_columns() const { return (out_width + 1) / 2; }
  std::int64_t tile_count() const { return images * tile_rows() * tile_columns(); }
  std::int64_t lanes() const { return vectors * kDirectLanes; }
  std::int64_t blocks() const { return (out_channels + lanes() - 1) / lanes(); }
  int vectors_of(std::int64_t block) const {
    const std::int64_t left = out_channels - block * lanes();
    return static_cast<int>(
        std::min<std::int64_t>((left + kDirectLanes - 1) / kDirectLanes, vectors));
  }
  std::int64_t in_row() const { return rounded_up(channels, kDirectLanes); }

  /// Scratch, in floats: u, then two of (v, z), pixels of zeros, and each thread's patches.
  /// Elements from a channel's tiles to the next channel's: no power of two, which would crowd the
  /// cache.
  std::int64_t v_row() const { return group + kTurned; }
  std::int64_t u_step() const { return blocks() * channels * lanes(); }
  std::int64_t v_step() const { return channels * v_row(); }
  std::int64_t z_step() const { return blocks() * group * lanes(); }
  std::int64_t buffer() const {
    return rounded_up(kWinogradPositions * (v_step() + z_step()), kDirectLanes);
  }
  std::int64_t buffers_at() const { return kWinogradPositions * u_step(); }
  std::int64_t zeros_at() const { return rounded_up(buffers_at(), kDirectLanes) + 2 * buffer(); }
  std::int64_t patches_at() const { return zeros_at() + in_row(); }
  std::int64_t patches() const { return kWinogradPositions * kTurned * in_row(); }

  std::string implementation() const { return "winograd_weights:avx512"; }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>((patches_at() + threads * patches()) * kFloat);
  }
  void run(const Addresses& addresses) const;
};

class Run {
 public:
  Run(const WinogradWeightsPlan& plan, const Addresses& addresses)
      : p_(plan),
        dy_(reinterpret_cast<const float*>(addresses.operands[0])),
        x_(reinterpret_cast<const float*>(addresses.operands[1])),
        result_(reinterpret_cast<float*>(addresses.results[0])),
        scratch_(reinterpret_cast<float*>(addresses.scratch)) {}

  /// One team for the whole run: while a group is added the next one is transformed into the other
  /// buffer, so that threads meet once per group.
  void all() {
    std::memset(scratch_ + p_.zeros_at(), 0, static_cast<std::size_t>(p_.in_row() * kFloat));
    const std::int64_t work = p_.tile_count() * p_.channels * p_.out_channels;
#pragma omp parallel if (work >= kSerialBelow * 16)
    {
      prepare(0);
#pragma omp barrier
      for (std::int64_t first = 0; first < p_.tile_count(); first += p_.group) {
        if (first + p_.group < p_.tile_count()) prepare(first + p_.group);
        add(first);
#pragma omp barrier
      }
      conclude();
    }
  }

 private:
  /// body(begin, end) on the calling thread's share of 0..count.
  template <class Body>
  static void share(std::int64_t count, const Body& body) {
    const std::int64_t threads = omp_get_num_threads();
    const std::int64_t thread = omp_get_thread_num();
    const std::int64_t begin = count * thread / threads;
    const std::int64_t end = count * (thread + 1) / threads;
    if (begin < end) body(begin, end);
  }

  struct Place {
    std::int64_t image, row, column;  ///< of the tile's first result
  };
  Place place_of(std::int64_t tile) const {
    const std::int64_t row = tile / p_.tile_columns();
    return {row / p_.tile_rows(), row % p_.tile_rows() * 2, tile % p_.tile_columns() * 2};
  }
  std::int64_t count_of(std::int64_t first) const {
    return std::min(p_.group, p_.tile_count() - first);
  }
  float* v_of(std::int64_t first) const {
    return scratch_ + rounded_up(p_.buffers_at(), kDirectLanes) +
           first / p_.group % 2 * p_.buffer();
  }
  float* z_of(std::int64_t first) const { return v_of(first) + kWinogradPositions * p_.v_step(); }

  /// The group of tiles from `first` on.
  void prepare(std::int64_t first) {
    const std::int64_t count = count_of(first);
    share((count + kTurned - 1) / kTurned, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t thread = omp_get_thread_num();
      std::vector<float> own;  // more threads than when the kernel was made
      if (thread >= p_.threads) own.resize(static_cast<std::size_t>(p_.patches()));
      float* const patches =
          own.empty() ? scratch_ + p_.patches_at() + thread * p_.patches() : own.data();
      for (std::int64_t i = begin; i < end; ++i) {
        turn(first, i * kTurned, std::min(kTurned, count - i * kTurned), patches);
      }
    });
    share(count, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        transform_dy(first + i, z_of(first) + i * p_.lanes());
    });
  }

  /// Patches of the tiles [first + at, first + at + count).
  void turn(std::int64_t first, std::int64_t at, std::int64_t count, float* patches) const {
    const std::int64_t step = kTurned * p_.in_row();
    for (std::int64_t i = 0; i < count; ++i) {
      const Place place = place_of(first + at + i);
      const float* const image = x_ + place.image * p_.height * p_.width * p_.x_pitch;
      std::array<const float*, kWinogradPositions> pixels;
      for (std::int64_t p = 0; p < kWinogradPositions; ++p) {
        const std::int64_t y = place.row - p_.pad[0] + p / 4;
        const std::int64_t x = place.column - p_.pad[1] + p % 4;
        const bool inside = y >= 0 && y < p_.height && x >= 0 && x < p_.width;
        pixels[static_cast<std::size_t>(p)] =
            inside ? image + (y * p_.width + x) * p_.x_pitch : scratch_ + p_.zeros_at();
      }
      winograd_loops()->input(pixels.data(), p_.channels, patches + i * p_.in_row(), step);
    }
    float* const v = v_of(first) + at;
    for (std::int64_t p = 0; p < kWinogradPositions; ++p) {
      vector_loops().transpose32(patches + p * step, p_.in_row(), v + p * p_.v_step(), p_.v_row(),
                                 count, p_.channels);
    }
  }

  void transform_dy(std::int64_t tile, float* z) const {
    const Place place = place_of(tile);
    const float* const image = dy_ + place.image * p_.out_height * p_.out_width * p_.dy_pitch;
    std::array<const float*, 4> pixels;
    for (std::int64_t p = 0; p < 4; ++p) {
      const std::int64_t y = place.row + p / 2;
      const std::int64_t x = place.column + p % 2;
      const bool inside = y < p_.out_height && x < p_.out_width;
      pixels[static_cast<std::size_t>(p)] =
          inside ? image + (y * p_.out_width + x) * p_.dy_pitch : nullptr;
    }
    winograd_loops()->output_gradient(pixels.data(), p_.out_channels, p_.vectors, z,
                                      p_.group * p_.lanes(), p_.z_step());
  }

  /// Adds the group from `first` on: a unit is some channels of x at one position and block.
  void add(std::int64_t first) const {
    const std::int64_t most = p_.tiles->pixels[p_.vectors - 1];
    const std::int64_t pieces = (p_.channels + most - 1) / most;
    share(kWinogradPositions * p_.blocks() * pieces, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t unit = begin; unit < end; ++unit) {
        const std::int64_t channel = p_.channels * (unit % pieces) / pieces;
        const std::int64_t next = p_.channels * (unit % pieces + 1) / pieces;
        const std::int64_t block = unit / pieces % p_.blocks();
        run_tile(first, unit / pieces / p_.blocks(), block, channel, next - channel);
      }
    });
  }

  void run_tile(std::int64_t first, std::int64_t position, std::int64_t block, std::int64_t channel,
                std::int64_t count) const {
    const int vectors = p_.vectors_of(block);
    const float* const v = v_of(first) + position * p_.v_step() + channel * p_.v_row();
    std::array<const void*, kDirectPixels> rows;
    for (std::int64_t i = 0; i < count; ++i) rows[static_cast<std::size_t>(i)] = v + i * p_.v_row();
    float* const sums = scratch_ + position * p_.u_step() + block * p_.channels * p_.lanes() +
                        channel * vectors * kDirectLanes;
    DirectTile tile;
    tile.x = rows.data();
    tile.taps = 1;
    tile.channels = count_of(first);
    tile.weights = z_of(first) + position * p_.z_step() + block * p_.group * p_.lanes();
    tile.weights_step = p_.lanes();
    tile.init = first == 0 ? kZeros : sums;
    tile.init_step = first == 0 ? 0 : vectors * kDirectLanes;
    tile.sums = sums;
    p_.tiles->functions[vectors - 1][count - 1](tile);
  }

  /// From the sums to [channel of dy][channel of x][taps].
  void conclude() const {
    constexpr std::int64_t kTaps = 9;
    constexpr std::int64_t kMost = 28;  // channels at once
    const std::int64_t pieces = (p_.channels + kMost - 1) / kMost;
    share(p_.blocks() * pieces, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> rows(static_cast<std::size_t>(kMost * kTaps * p_.lanes()));
      for (std::int64_t unit = begin; unit < end; ++unit) {
        const std::int64_t block = unit / pieces;
        const std::int64_t first = unit % pieces * kMost;
        const std::int64_t count = std::min(kMost, p_.channels - first);
        const int vectors = p_.vectors_of(block);
        const std::int64_t lanes = vectors * kDirectLanes;
        const float* const sums = scratch_ + block * p_.channels * p_.lanes();
        for (std::int64_t i = 0; i < count; ++i) {
          winograd_loops()->weights_gradient(sums + (first + i) * lanes, p_.u_step(), vectors,
                                             rows.data() + i * kTaps * lanes);
        }
        const std::int64_t row = p_.channels * kTaps;
        const std::int64_t valid = std::min(lanes, p_.out_channels - block * p_.lanes());
        vector_loops().transpose32(rows.data(), lanes,
                                   result_ + block * p_.lanes() * row + first * kTaps, row,
                                   count * kTaps, valid);
      }
    });
  }

  alignas(64) static constexpr float kZeros[kDirectVectors * kDirectLanes] = {};

  const WinogradWeightsPlan& p_;
  const float* dy_;
  const float* x_;
  float* result_;
  float* scratch_;
};

void WinogradWeightsPlan::run(const Addresses& addresses) const { Run(*this, addresses).all(); }

}  // namespace

std::unique_ptr<Kernel> lower_winograd_weights_gradient(const Node& node,
                                                        std::span<const View> operands,
                                                        const View& result) {
  if (!suits_winograd_weights(node)) return nullptr;
  const std::optional<PixelRows> dy = pixel_rows(operands[0]);
  const std::optional<PixelRows> x = pixel_rows(operands[1]);
  const bool is_row_major = result.type.dtype == DType::f32 && !is_blocked(result.type.layout) &&
                            same_strides(static_extents(result.type.shape), result.strides,
                                         dense_strides({DType::f32, result.type.shape, {}}));
  if (!dy || !x || !is_row_major) return nullptr;
  const std::vector<std::int64_t> out = static_extents(operands[0].type.shape);
  const std::vector<std::int64_t> in = static_extents(operands[1].type.shape);
  WinogradWeightsPlan plan;
  plan.tiles = direct_tiles_for(DType::f32);
  plan.images = in[0];
  plan.channels = in[1];
  plan.height = in[2];
  plan.width = in[3];
  plan.out_channels = out[1];
  plan.out_height = out[2];
  plan.out_width = out[3];
  for (const std::size_t axis : {0, 1}) plan.pad[axis] = node.attributes().ints("pads")[axis];
  plan.x_pitch = x->pitch;
  plan.dy_pitch = dy->pitch;
  plan.vectors = direct_vectors(plan.out_channels);
  plan.threads = omp_get_max_threads();
  const std::int64_t bytes =
      kWinogradPositions * (plan.channels + plan.blocks() * plan.lanes()) * kFloat;
  const std::int64_t most = std::max(kGroupBytes / bytes / kTurned * kTurned, kFewestTiles);
  plan.group = std::min(most, rounded_up(plan.tile_count(), kTurned));
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
