#include "backends/cpu/kernels/weights_products.h"

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

// Weight gradients as products of matrices, [channels of x][tiles] by [tiles][channels of dy], one
// at each position: for any window a position is a tap and a tile a pixel of dy, with the pixel of
// x that the tap lays over it. For a 3 x 3 window moved by one there is a cheaper form: its
// convolution is y = A^T [(G g G^T) * (B^T d B)] A for every tile of 2 x 2 results, channels summed
// over (winograd_loops.h); so the gradient of g is G^T [sum over tiles of (B^T d B) * (A dY A^T)]
// G, with products at 16 positions for 36.
//
// Tiles are cut into parts, each with sums of its own, and a part's channels of x into ranges: a
// unit is a part's range, done by one thread, group of tiles by group:
//   1. tiles of dy, z [position][block][tile][lanes], bf16 in pairs of tiles, for all taps the
//   same;
// and for some panels of the range's channels
//   2. tiles of x, v [panel][position][tile][channel of the panel], likewise;
//   3. the part's sums u [position][block][channel][lanes] take up what the group's tiles give.
// Nothing goes from thread to thread but finished sums: a line of the cache that one core has
// written costs the other more than the products on it. Ranges depend on the number of threads and
// do not touch bits; parts, whose sums are added in the end, depend on shapes alone.

namespace facet::cpu {
namespace {

/// Tiles of a group: so many that its sums, which come and go once a group, are cheap beside its
/// products, and more where they do not stay in the second-level cache.
constexpr std::int64_t kGroupTiles = 96;
constexpr std::int64_t kGroupTilesFar = 192;
constexpr std::int64_t kNearSums = 512 * 1024;
/// The same for Winograd's algorithm, whose tiles have 16 positions: what is transformed for a
/// group stays beside the sums in the second-level cache if that leaves enough of them.
constexpr std::int64_t kGroupBytes = 512 * 1024;
constexpr std::int64_t kFewestTiles = 64;
constexpr std::int64_t kFewestTilesFar = 256;
/// Channels of x whose products follow each other, whole lines of the cache, and rows of tiles that
/// are multiplied at a time: those of a panel and of a block of dy's channels stay in the
/// first-level cache.
constexpr std::int64_t kPanelChannels = 144;
constexpr std::int64_t kChunkRows = 48;
/// Of the panels that are packed together: a pixel is best read at once, as memory hands out what
/// lies side by side.
constexpr std::int64_t kPackedBytes = 512 * 1024;
/// Sums of all parts; and tiles of a part, beside which adding its sums is little.
constexpr std::int64_t kPartBytes = 4 << 20;
constexpr std::int64_t kMostParts = 8;
constexpr std::int64_t kFewestPartTiles = 512;
/// Fewer channels of x or dy are packed longer than multiplied.
constexpr std::int64_t kFewestChannels = 16;
constexpr std::int64_t kTilesAhead = 32;       ///< whose pixels are asked for
constexpr std::int64_t kFewestProducts = 200;  ///< for each packed channel of f32
constexpr std::int64_t kFloat = 4;
constexpr std::int64_t kLine = 64;

/// Parts of 0..total of about equal size.
struct Cut {
  std::int64_t total = 0, parts = 1;
  std::int64_t first(std::int64_t part) const { return total * part / parts; }
};

struct WeightsProductsPlan {
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
  /// Ranges are of whole vectors.
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

/// What one thread does: some tiles for some channels of x.
class Unit {
 public:
  Unit(const WeightsProductsPlan& plan, const Addresses& addresses, std::byte* own)
      : p_(plan),
        dy_(addresses.operands[0]),
        x_(addresses.operands[1]),
        scratch_(addresses.scratch),
        v_(own),
        z_(own + plan.panels * plan.panel_step() * plan.size) {}

  /// Tiles [begin, end) and channels of x [first_channel, last_channel), into a part's sums.
  void run(std::int64_t begin, std::int64_t end, std::int64_t first_channel,
           std::int64_t last_channel, float* sums) {
    sums_ = sums;
    adds_ = false;
    for (std::int64_t first = begin; first < end; first += p_.group) {
      const std::int64_t count = std::min(p_.group, end - first);
      const Image dy{dy_,          p_.out_height,
                     p_.out_width, p_.dy_pitch * p_.size,
                     {1, 1},       p_.out_channels * p_.size};
      for_each_pair(first, count, dy, [&](std::int64_t tile, std::int64_t tiles, std::int64_t at) {
        p_.is_winograd ? transform_dy(tile, tiles, at) : pack_dy(tile, tiles, at);
      });
      const std::int64_t packed = p_.panels * kPanelChannels;
      for (channel_ = first_channel; channel_ < last_channel; channel_ += packed) {
        width_ = std::min(packed, last_channel - channel_);
        const Image x{x_ + channel_ * p_.size,      p_.height,       p_.width, p_.x_pitch * p_.size,
                      {p_.stride[0], p_.stride[1]}, width_ * p_.size};
        for_each_pair(first, count, x, [&](std::int64_t tile, std::int64_t tiles, std::int64_t at) {
          p_.is_winograd ? transform_x(tile, tiles, at) : pack_x(tile, tiles, at);
        });
        for (std::int64_t c = 0; c < width_; c += kPanelChannels) {
          for (std::int64_t position = 0; position < p_.positions(); ++position) {
            for (std::int64_t block = 0; block < p_.blocks(); ++block) {
              multiply(c, position, block, count);
            }
          }
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
    return {row / p_.tile_rows(), row % p_.tile_rows() * p_.tile_extent(),
            tile % p_.tile_columns() * p_.tile_extent()};
  }

  /// Some channels of all pixels of dy or x.
  struct Image {
    const std::byte* data;
    std::int64_t height, width, pixel_bytes;
    std::int64_t stride[2];  ///< of pixels for one of dy
    std::int64_t bytes;      ///< of a pixel's channels
  };
  /// Calls pack(tile, number of tiles, place in the group) for the group's tiles, by those that are
  /// multiplied together, and asks for what it reads some tiles later: a loop that waits for each
  /// pixel gets a quarter of what memory can give.
  template <class Pack>
  void for_each_pair(std::int64_t first, std::int64_t count, const Image& image,
                     const Pack& pack) const {
    for (std::int64_t at = 0; at < count; at += p_.pair()) {
      const std::int64_t tiles = std::min(p_.pair(), count - at);
      for (std::int64_t i = 0; i < tiles; ++i) fetch(image, first + at + i + kTilesAhead);
      pack(first + at, tiles, at);
    }
  }

  /// Inline: GCC leaves out calls of a function that does nothing else.
  [[gnu::always_inline]] void fetch(const Image& image, std::int64_t tile) const {
    if (tile >= p_.tile_count()) return;
    const Place place = place_of(tile);
    for (std::int64_t p = 0; p < p_.tile_extent() * p_.tile_extent(); ++p) {
      const std::int64_t y = std::min((place.row + p / 2) * image.stride[0], image.height - 1);
      const std::int64_t x = std::min((place.column + p % 2) * image.stride[1], image.width - 1);
      const std::byte* const pixel =
          image.data + ((place.image * image.height + y) * image.width + x) * image.pixel_bytes;
      for (std::int64_t at = 0; at < image.bytes; at += kLine) __builtin_prefetch(pixel + at);
    }
  }

  /// What lies under each tap for the `count` pixels of dy from `tile` on that are multiplied
  /// together, to the group's place `at`.
  void pack_x(std::int64_t tile, std::int64_t count, std::int64_t at) const {
    const std::int64_t pixel_bytes = p_.x_pitch * p_.size;
    std::array<const std::byte*, 2> images{};
    std::array<std::int64_t, 2> rows{}, columns{};  // under the window's first tap
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      const Place place = place_of(tile + static_cast<std::int64_t>(i));
      images[i] = x_ + place.image * p_.height * p_.width * pixel_bytes + channel_ * p_.size;
      rows[i] = place.row * p_.stride[0] - p_.pad[0];
      columns[i] = place.column * p_.stride[1] - p_.pad[1];
    }
    std::byte* to = v_ + at * p_.v_row() * p_.size;
    for (std::int64_t down = 0; down < p_.kernel[0]; ++down) {
      for (std::int64_t right = 0; right < p_.kernel[1]; ++right, to += p_.v_step() * p_.size) {
        std::array<const void*, 2> pixels{scratch_ + p_.zeros_at(), scratch_ + p_.zeros_at()};
        for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
          const std::int64_t y = rows[i] + down * p_.dilation[0];
          const std::int64_t x = columns[i] + right * p_.dilation[1];
          if (y < 0 || y >= p_.height || x < 0 || x >= p_.width) continue;
          pixels[i] = images[i] + (y * p_.width + x) * pixel_bytes;
        }
        for_each_panel(pixels, [&](std::int64_t width, std::int64_t step) {
          p_.loops->pack(pixels.data(), width, to + step * p_.size);
        });
      }
    }
  }

  /// Calls act(channels, elements from the first panel) with the pixels moved on to each panel.
  template <std::size_t kPixels, class Act>
  void for_each_panel(std::array<const void*, kPixels>& pixels, const Act& act) const {
    for (std::int64_t c = 0, step = 0; c < width_; c += kPanelChannels, step += p_.panel_step()) {
      act(std::min(kPanelChannels, width_ - c), step);
      for (const void*& pixel : pixels) {
        pixel = static_cast<const std::byte*>(pixel) + kPanelChannels * p_.size;
      }
    }
  }

  void pack_dy(std::int64_t tile, std::int64_t count, std::int64_t at) const {
    for (std::int64_t block = 0; block < p_.blocks(); ++block) {
      const std::int64_t channel = block * p_.lanes();
      std::array<const void*, 2> pixels{scratch_ + p_.zeros_at(), scratch_ + p_.zeros_at()};
      for (std::int64_t i = 0; i < count; ++i) {
        pixels[static_cast<std::size_t>(i)] = dy_ + ((tile + i) * p_.dy_pitch + channel) * p_.size;
      }
      p_.loops->pack(pixels.data(), std::min(p_.lanes(), p_.out_channels - channel),
                     z_ + (channel * p_.group + at * p_.lanes()) * p_.size);
    }
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
    for_each_panel(pixels, [&](std::int64_t width, std::int64_t step) {
      p_.loops->patches(pixels.data(), width, v_ + (step + at * p_.v_row()) * p_.size, p_.v_step());
    });
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

  /// What `count` transformed tiles give to the sums of a position and a block, for the panel that
  /// begins `channel` channels behind the first one packed.
  void multiply(std::int64_t channel, std::int64_t position, std::int64_t block,
                std::int64_t count) const {
    const int vectors = p_.vectors_of(block);
    const std::int64_t most = p_.tiles->pixels[vectors - 1];
    const std::int64_t width = std::min(kPanelChannels, width_ - channel);
    const Cut pieces{width, (width + most - 1) / most};
    float* const sums = sums_ + position * p_.u_step() + block * p_.channels * p_.lanes() +
                        (channel_ + channel) * vectors * kDirectLanes;
    const std::int64_t z_step = p_.is_winograd ? p_.z_step() : 0;
    const std::byte* z = z_ + (position * z_step + block * p_.group * p_.lanes()) * p_.size;
    const std::byte* v =
        v_ + (channel / kPanelChannels * p_.panel_step() + position * p_.v_step()) * p_.size;
    WinogradProduct product;
    product.v_step = p_.v_row() * p_.pair();
    product.z_step = p_.lanes() * p_.pair();
    product.adds = adds_;
    const std::int64_t rows = (count + p_.pair() - 1) / p_.pair();
    const Cut chunks{rows, (rows + kChunkRows - 1) / kChunkRows};
    for (std::int64_t chunk = 0; chunk < chunks.parts; ++chunk) {
      const std::int64_t row = chunks.first(chunk);
      product.z = z + row * product.z_step * p_.size;
      product.rows = chunks.first(chunk + 1) - row;
      for (std::int64_t piece = 0; piece < pieces.parts; ++piece) {
        const std::int64_t first = pieces.first(piece);
        product.v = v + (row * product.v_step + first * p_.pair()) * p_.size;
        product.sums = sums + first * vectors * kDirectLanes;
        p_.loops->row_products[vectors - 1][pieces.first(piece + 1) - first - 1](product);
      }
      product.adds = true;
    }
  }

  const WeightsProductsPlan& p_;
  const std::byte* dy_;
  const std::byte* x_;
  const std::byte* scratch_;
  std::byte* v_;
  std::byte* z_;
  std::int64_t channel_ = 0, width_ = 0;  ///< of x, of the panels that are packed
  float* sums_ = nullptr;
  bool adds_ = false;  ///< whether the sums hold those of groups before
};

/// From the sums to [channel of dy][channel of x][taps], for some channels of x.
void conclude(const WeightsProductsPlan& p, float* u, std::int64_t block, std::int64_t first,
              std::int64_t count, float* result) {
  const int vectors = p.vectors_of(block);
  const std::int64_t lanes = vectors * kDirectLanes;
  float* const sums = u + block * p.channels * p.lanes() + first * lanes;
  for (std::int64_t part = 1; part < p.parts; ++part) {
    for (std::int64_t position = 0; position < p.positions(); ++position) {
      float* const to = sums + position * p.u_step();
      const float* const from = to + part * p.part_floats();
      for (std::int64_t i = 0; i < count * lanes; ++i) to[i] += from[i];
    }
  }
  std::vector<float> rows(static_cast<std::size_t>(count * p.taps() * lanes));
  float* to = rows.data();
  for (std::int64_t i = 0; i < count; ++i, to += p.taps() * lanes) {
    if (p.is_winograd) {
      p.loops->weights_gradient(sums + i * lanes, p.u_step(), vectors, to);
      continue;
    }
    for (std::int64_t tap = 0; tap < p.taps(); ++tap) {
      std::memcpy(to + tap * lanes, sums + tap * p.u_step() + i * lanes,
                  static_cast<std::size_t>(lanes * kFloat));
    }
  }
  const std::int64_t row = p.channels * p.taps();
  vector_loops().transpose32(rows.data(), lanes,
                             result + block * p.lanes() * row + first * p.taps(), row,
                             count * p.taps(), std::min(lanes, p.out_channels - block * p.lanes()));
}

void WeightsProductsPlan::run(const Addresses& addresses) const {
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

/// Any window; in f32 oneDNN is as fast with one of a pixel and few channels.
bool suits_products(const Node& node) {
  const DType dtype = node.operand(0).dtype();
  const Shape& weight = node.result_types()[0].shape;
  const std::int64_t out = weight[0].factor;
  const std::int64_t in = weight[1].factor;
  const bool is_worth_packing = dtype == DType::bf16 || weight[2] != Dim(1) ||
                                weight[3] != Dim(1) || out * in >= kFewestProducts * (out + in);
  return dtype == node.operand(1).dtype() && winograd_loops_for(dtype) != nullptr &&
         node.attributes().integer("groups") == 1 && in >= kFewestChannels && is_worth_packing;
}

}  // namespace

std::unique_ptr<Kernel> lower_weights_products(const Node& node, std::span<const View> operands,
                                               const View& result) {
  const DType dtype = operands[0].type.dtype;
  const bool is_winograd = suits_winograd_weights(node);
  if (!is_winograd && !suits_products(node)) return nullptr;
  const std::optional<PixelRows> dy = pixel_rows(operands[0]);
  const std::optional<PixelRows> x = pixel_rows(operands[1]);
  const bool is_expected = result.type.dtype == DType::f32 && is_row_major(result);
  if (!dy || !x || dy->type != x->type || !is_expected) return nullptr;
  const std::vector<std::int64_t> out = static_extents(operands[0].type.shape);
  const std::vector<std::int64_t> in = static_extents(operands[1].type.shape);
  WeightsProductsPlan plan;
  plan.is_winograd = is_winograd;
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
  const Attributes& a = node.attributes();
  for (const std::size_t axis : {0, 1}) {
    plan.kernel[axis] = a.ints("kernel")[axis];
    plan.stride[axis] = a.ints("strides")[axis];
    plan.dilation[axis] = a.ints("dilations")[axis];
    plan.pad[axis] = a.ints("pads")[axis];
  }
  plan.x_pitch = x->pitch;
  plan.dy_pitch = dy->pitch;
  plan.vectors = direct_vectors(*plan.tiles, plan.out_channels);
  plan.threads = omp_get_max_threads();
  plan.parts = std::clamp<std::int64_t>(
      std::min(kPartBytes / (plan.part_floats() * kFloat), plan.tile_count() / kFewestPartTiles), 1,
      kMostParts);
  const bool is_far = plan.part_floats() * kFloat > kNearSums;
  plan.group = is_far ? kGroupTilesFar : kGroupTiles;
  if (is_winograd) {
    const std::int64_t bytes =
        kWinogradPositions * (plan.v_row() + plan.blocks() * plan.lanes()) * plan.size;
    plan.group = std::max(kGroupBytes / bytes, is_far ? kFewestTilesFar : kFewestTiles) / 2 * 2;
  }
  plan.group = std::min(plan.group, rounded_up(plan.tile_count(), 2));
  plan.panels = std::clamp<std::int64_t>(kPackedBytes / (plan.panel_step() * plan.size), 1,
                                         (plan.channels + kPanelChannels - 1) / kPanelChannels);
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
