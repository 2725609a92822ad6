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
// [tiles][channels of dy]. Tiles are cut into parts, each with sums of its own, and a part's
// channels of x into ranges: a unit is a part's range, done by one thread, group of tiles by group:
//   1. patches of x are transformed, v [position][tile][channel of the range], bf16 in pairs of
//      tiles;
//   2. tiles of dy are transformed, z [position][block][tile][lanes], likewise;
//   3. the part's sums u [position][block][channel][lanes] take up what the group's tiles give.
// Nothing goes from thread to thread but finished sums: a line of the cache that one core has
// written costs the other more than the products on it. Ranges depend on the number of threads and
// do not touch bits; parts, whose sums are added in the end, depend on shapes alone.

namespace facet::cpu {
namespace {

/// Transformed tiles of a group: beside the sums, in the second-level cache.
constexpr std::int64_t kGroupBytes = 512 * 1024;
/// Fewer tiles would touch the sums more often than their products are worth.
constexpr std::int64_t kFewestTiles = 64;
/// Sums of all parts; and tiles of a part, beside which adding its sums is little.
constexpr std::int64_t kPartBytes = 4 << 20;
constexpr std::int64_t kMostParts = 8;
constexpr std::int64_t kFewestPartTiles = 512;
constexpr std::int64_t kFloat = 4;
constexpr std::int64_t kLine = 64;

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Parts of 0..total of about equal size.
struct Cut {
  std::int64_t total = 0, parts = 1;
  std::int64_t first(std::int64_t part) const { return total * part / parts; }
};

struct WinogradWeightsPlan {
  const DirectTiles* tiles = nullptr;
  const WinogradLoops* loops = nullptr;
  std::int64_t size = 4;  ///< bytes of an element of dy and x
  std::int64_t images = 0, height = 0, width = 0, channels = 0;  ///< of x
  std::int64_t out_height = 0, out_width = 0, out_channels = 0;  ///< of dy
  std::int64_t pad[2] = {0, 0};
  std::int64_t x_pitch = 0, dy_pitch = 0;  ///< elements from pixel to pixel
  int vectors = 1;                         ///< of a block of dy's channels
  std::int64_t parts = 1;                  ///< of the tiles
  std::int64_t group = 0;                  ///< tiles that are transformed together
  std::int64_t threads = 1;                ///< that have scratch of their own

  std::int64_t pair() const { return size == 2 ? 2 : 1; }  ///< tiles that are multiplied together
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
  /// Ranges are of whole vectors.
  std::int64_t in_vectors() const { return (channels + kDirectLanes - 1) / kDirectLanes; }

  /// Elements from a tile's channels to the next tile's, and from position to position: no powers
  /// of two, which would crowd the cache.
  std::int64_t v_row() const { return (in_vectors() + 1) * kDirectLanes; }
  std::int64_t v_step() const { return group * v_row() + kLine; }
  std::int64_t z_step() const { return blocks() * group * lanes() + kLine; }
  std::int64_t u_step() const { return blocks() * channels * lanes(); }
  std::int64_t part_floats() const { return kWinogradPositions * u_step(); }
  /// Scratch, in bytes: u of each part, a pixel of zeros, and each thread's v and z.
  std::int64_t zeros_at() const { return rounded_up(parts * part_floats() * kFloat, kLine); }
  std::int64_t threads_at() const {
    return zeros_at() + rounded_up(in_vectors() * kDirectLanes * size, kLine);
  }
  std::int64_t per_thread() const {
    return rounded_up(kWinogradPositions * (v_step() + z_step()) * size, kLine);
  }

  std::string implementation() const { return std::string("winograd_weights:") + loops->name; }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(threads_at() + threads * per_thread());
  }
  void run(const Addresses& addresses) const;
};

/// What one thread does: some tiles for some channels of x.
class Unit {
 public:
  Unit(const WinogradWeightsPlan& plan, const Addresses& addresses, std::byte* own)
      : p_(plan),
        dy_(addresses.operands[0]),
        x_(addresses.operands[1]),
        scratch_(addresses.scratch),
        v_(own),
        z_(own + kWinogradPositions * plan.v_step() * plan.size) {}

  /// Tiles [begin, end) and channels of x [first_channel, last_channel), into a part's sums.
  void run(std::int64_t begin, std::int64_t end, std::int64_t first_channel,
           std::int64_t last_channel, float* sums) {
    channel_ = first_channel;
    width_ = last_channel - first_channel;
    sums_ = sums;
    adds_ = false;
    for (std::int64_t first = begin; first < end; first += p_.group) {
      const std::int64_t count = std::min(p_.group, end - first);
      for (std::int64_t at = 0; at < count; at += p_.pair()) {
        transform_x(first + at, std::min(p_.pair(), count - at), at);
        transform_dy(first + at, std::min(p_.pair(), count - at), at);
      }
      for (std::int64_t position = 0; position < kWinogradPositions; ++position) {
        for (std::int64_t block = 0; block < p_.blocks(); ++block) {
          multiply(position, block, count);
        }
      }
      adds_ = true;
    }
  }

 private:
  struct Place {
    std::int64_t image, row, column;  ///< of the tile's first result
  };
  Place place_of(std::int64_t tile) const {
    const std::int64_t row = tile / p_.tile_columns();
    return {row / p_.tile_rows(), row % p_.tile_rows() * 2, tile % p_.tile_columns() * 2};
  }

  /// Patches of the `count` tiles from `tile` on that are multiplied together, to the group's place
  /// `at`.
  void transform_x(std::int64_t tile, std::int64_t count, std::int64_t at) const {
    const std::int64_t pixel_bytes = p_.x_pitch * p_.size;
    std::array<const void*, 2 * kWinogradPositions> pixels;
    pixels.fill(scratch_ + p_.zeros_at());
    for (std::int64_t i = 0; i < count; ++i) {
      const Place place = place_of(tile + i);
      const std::byte* const image =
          x_ + place.image * p_.height * p_.width * pixel_bytes + channel_ * p_.size;
      for (std::int64_t p = 0; p < kWinogradPositions; ++p) {
        const std::int64_t y = place.row - p_.pad[0] + p / 4;
        const std::int64_t x = place.column - p_.pad[1] + p % 4;
        if (y < 0 || y >= p_.height || x < 0 || x >= p_.width) continue;
        pixels[static_cast<std::size_t>(i * kWinogradPositions + p)] =
            image + (y * p_.width + x) * pixel_bytes;
      }
    }
    p_.loops->patches(pixels.data(), width_, v_ + at * p_.v_row() * p_.size, p_.v_step());
  }

  void transform_dy(std::int64_t tile, std::int64_t count, std::int64_t at) const {
    std::array<const void*, 8> pixels{};
    for (std::int64_t i = 0; i < count; ++i) {
      const Place place = place_of(tile + i);
      for (std::int64_t p = 0; p < 4; ++p) {
        const std::int64_t y = place.row + p / 2;
        const std::int64_t x = place.column + p % 2;
        if (y >= p_.out_height || x >= p_.out_width) continue;
        const std::int64_t pixel = (place.image * p_.out_height + y) * p_.out_width + x;
        pixels[static_cast<std::size_t>(4 * i + p)] = dy_ + pixel * p_.dy_pitch * p_.size;
      }
    }
    p_.loops->output_gradient(pixels.data(), p_.out_channels, p_.vectors,
                              z_ + at * p_.lanes() * p_.size, p_.group * p_.lanes(), p_.z_step());
  }

  /// What `count` transformed tiles give to the sums of a position and a block.
  void multiply(std::int64_t position, std::int64_t block, std::int64_t count) const {
    const int vectors = p_.vectors_of(block);
    const std::int64_t most = p_.tiles->pixels[vectors - 1];
    const Cut pieces{width_, (width_ + most - 1) / most};
    float* const sums = sums_ + position * p_.u_step() + block * p_.channels * p_.lanes();
    WinogradProduct product;
    product.v_step = p_.v_row() * p_.pair();
    product.z = z_ + (position * p_.z_step() + block * p_.group * p_.lanes()) * p_.size;
    product.z_step = p_.lanes() * p_.pair();
    product.rows = (count + p_.pair() - 1) / p_.pair();
    product.adds = adds_;
    for (std::int64_t piece = 0; piece < pieces.parts; ++piece) {
      const std::int64_t first = pieces.first(piece);
      product.v = v_ + (position * p_.v_step() + first * p_.pair()) * p_.size;
      product.sums = sums + (channel_ + first) * vectors * kDirectLanes;
      p_.loops->products[vectors - 1][pieces.first(piece + 1) - first - 1](product);
    }
  }

  const WinogradWeightsPlan& p_;
  const std::byte* dy_;
  const std::byte* x_;
  const std::byte* scratch_;
  std::byte* v_;
  std::byte* z_;
  std::int64_t channel_ = 0, width_ = 0;  ///< of x
  float* sums_ = nullptr;
  bool adds_ = false;  ///< whether the sums hold those of groups before
};

/// From the sums to [channel of dy][channel of x][taps], for some channels of x.
void conclude(const WinogradWeightsPlan& p, float* u, std::int64_t block, std::int64_t first,
              std::int64_t count, float* result) {
  constexpr std::int64_t kTaps = 9;
  const int vectors = p.vectors_of(block);
  const std::int64_t lanes = vectors * kDirectLanes;
  float* const sums = u + block * p.channels * p.lanes() + first * lanes;
  for (std::int64_t part = 1; part < p.parts; ++part) {
    for (std::int64_t position = 0; position < kWinogradPositions; ++position) {
      float* const to = sums + position * p.u_step();
      const float* const from = to + part * p.part_floats();
      for (std::int64_t i = 0; i < count * lanes; ++i) to[i] += from[i];
    }
  }
  std::vector<float> rows(static_cast<std::size_t>(count * kTaps * lanes));
  for (std::int64_t i = 0; i < count; ++i) {
    p.loops->weights_gradient(sums + i * lanes, p.u_step(), vectors,
                              rows.data() + i * kTaps * lanes);
  }
  const std::int64_t row = p.channels * kTaps;
  vector_loops().transpose32(rows.data(), lanes, result + block * p.lanes() * row + first * kTaps,
                             row, count * kTaps,
                             std::min(lanes, p.out_channels - block * p.lanes()));
}

void WinogradWeightsPlan::run(const Addresses& addresses) const {
  std::byte* const scratch = addresses.scratch;
  std::memset(scratch + zeros_at(), 0, static_cast<std::size_t>(threads_at() - zeros_at()));
  auto* const u = reinterpret_cast<float*>(scratch);
  const std::int64_t work = tile_count() * channels * out_channels;
  const Cut tile_cut{tile_count(), parts};
  const std::int64_t most = omp_get_max_threads();
  const Cut ranges{in_vectors(), std::min((most + parts - 1) / parts, in_vectors())};
  parallel_for(parts * ranges.parts, work, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t thread = omp_get_thread_num();
    std::vector<std::byte> own;  // more threads than when the kernel was made
    if (thread >= threads) own.resize(static_cast<std::size_t>(per_thread()));
    Unit unit(*this, addresses,
              own.empty() ? scratch + threads_at() + thread * per_thread() : own.data());
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t part = i / ranges.parts;
      const std::int64_t range = i % ranges.parts;
      unit.run(tile_cut.first(part), tile_cut.first(part + 1), ranges.first(range) * kDirectLanes,
               std::min(ranges.first(range + 1) * kDirectLanes, channels),
               u + part * part_floats());
    }
  });
  constexpr std::int64_t kMost = 28;  // channels at once
  const std::int64_t pieces = (channels + kMost - 1) / kMost;
  auto* const result = reinterpret_cast<float*>(addresses.results[0]);
  parallel_for(blocks() * pieces, parts * part_floats(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i % pieces * kMost;
      conclude(*this, u, i / pieces, first, std::min(kMost, channels - first), result);
    }
  });
}

}  // namespace

std::unique_ptr<Kernel> lower_winograd_weights_gradient(const Node& node,
                                                        std::span<const View> operands,
                                                        const View& result) {
  const DType dtype = operands[0].type.dtype;
  if (!suits_winograd_weights(node)) return nullptr;
  const std::optional<PixelRows> dy = pixel_rows(operands[0]);
  const std::optional<PixelRows> x = pixel_rows(operands[1]);
  const bool is_row_major = result.type.dtype == DType::f32 && !is_blocked(result.type.layout) &&
                            same_strides(static_extents(result.type.shape), result.strides,
                                         dense_strides({DType::f32, result.type.shape, {}}));
  if (!dy || !x || dy->type != x->type || !is_row_major) return nullptr;
  const std::vector<std::int64_t> out = static_extents(operands[0].type.shape);
  const std::vector<std::int64_t> in = static_extents(operands[1].type.shape);
  WinogradWeightsPlan plan;
  plan.tiles = direct_tiles_for(dtype);
  plan.loops = winograd_loops_for(dtype);
  plan.size = size_of(dtype);
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
  const std::int64_t row_bytes = plan.channels + plan.blocks() * plan.lanes();
  const std::int64_t bytes = kWinogradPositions * row_bytes * plan.size;
  plan.parts = std::clamp<std::int64_t>(
      std::min(kPartBytes / (plan.part_floats() * kFloat), plan.tile_count() / kFewestPartTiles), 1,
      kMostParts);
  const std::int64_t most = std::max(kGroupBytes / bytes, kFewestTiles) / 2 * 2;
  plan.group = std::min(most, rounded_up(plan.tile_count(), 2));
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
