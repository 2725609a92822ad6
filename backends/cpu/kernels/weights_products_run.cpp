#include <omp.h>

#include <array>
#include <cstring>
#include <vector>

#include "backends/cpu/kernels/even_cut.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/tile_cursor.h"
#include "backends/cpu/kernels/weights_products_plan.h"

namespace facet::cpu {
namespace {

/// Rows of tiles that are multiplied at a time: see kPanelChannels.
constexpr std::int64_t kChunkRows = 48;
constexpr std::int64_t kTilesAhead = 32;  ///< whose pixels are asked for
constexpr std::int64_t kPixelsAhead = 8;  ///< the same where pixels follow each other
constexpr std::int64_t kPanelChannels = WeightsProductsPlan::kPanelChannels;
constexpr std::int64_t kFloat = WeightsProductsPlan::kFloat;
constexpr std::int64_t kLine = WeightsProductsPlan::kLine;

/// Parts of 0..total of about equal size.
struct Cut {
  std::int64_t total = 0, parts = 1;
  std::int64_t first(std::int64_t part) const { return total * part / parts; }
};

struct Range {
  std::int64_t begin = 0, end = 0;
};

/// Pixels that are packed next, asked for one by one while products run, which leave memory idle.
class PixelsAhead {
 public:
  /// Pixels of dy or x: some channels of each.
  struct Run {
    const std::byte* next = nullptr;
    std::int64_t pixel_bytes = 0;
    std::int64_t bytes = 0;  ///< of the channels
  };
  PixelsAhead() = default;
  /// `count` pixels of each run during `work`.
  PixelsAhead(std::array<Run, 2> runs, std::int64_t count, std::int64_t work)
      : runs_(runs), count_(count), work_(work) {}

  void advance(std::int64_t work) {
    for (due_ += work * count_; due_ >= work_; due_ -= work_) {
      for (Run& run : runs_) {
        for (std::int64_t at = 0; at < run.bytes; at += kLine) __builtin_prefetch(run.next + at);
        run.next += run.pixel_bytes;
      }
    }
  }

 private:
  std::array<Run, 2> runs_{};
  std::int64_t count_ = 0, work_ = 1, due_ = 0;
};

/// What one thread does: some tiles for some channels of x and some of dy's.
class Unit {
 public:
  Unit(const WeightsProductsPlan& plan, const Addresses& addresses, std::byte* own)
      : p_(plan),
        dy_(addresses.operands[0]),
        x_(addresses.operands[1]),
        scratch_(addresses.scratch),
        v_(own),
        z_(own + plan.panels * plan.panel_step() * plan.size) {}

  /// Tiles, blocks of dy's channels and channels of x, into a part's sums.
  void run(Range tiles, Range blocks, Range channels, float* sums) {
    blocks_ = blocks;
    sums_ = sums;
    adds_ = false;
    const std::int64_t packed = p_.panels * kPanelChannels;
    for (std::int64_t first = tiles.begin; first < tiles.end; first += p_.group) {
      const std::int64_t count = std::min(p_.group, tiles.end - first);
      take_dy(first, count);
      for (channel_ = channels.begin; channel_ < channels.end; channel_ += packed) {
        width_ = std::min(packed, channels.end - channel_);
        take_x(first, count);
        const std::int64_t rows = (count + p_.pair() - 1) / p_.pair();
        const bool is_last = channel_ + packed >= channels.end;
        ask_ahead(is_last ? first + p_.group : first, is_last ? tiles.end : first + count,
                  is_last ? channels.begin : channel_ + packed, channels.end,
                  rows * width_ * p_.positions() * (blocks.end - blocks.begin));
        for (std::int64_t c = 0; c < width_; c += kPanelChannels) {
          for (std::int64_t position = 0; position < p_.positions(); ++position) {
            for (std::int64_t block = blocks.begin; block < blocks.end; ++block) {
              multiply(c, position, block, rows);
            }
          }
        }
      }
      adds_ = true;
    }
  }

 private:
  /// The first of dy's channels, and their number.
  std::int64_t dy_channel() const { return blocks_.begin * p_.lanes(); }
  std::int64_t dy_channels() const {
    return std::min(blocks_.end * p_.lanes(), p_.out_channels) - dy_channel();
  }

  /// Some channels of all pixels of dy or x.
  struct Image {
    const std::byte* data;
    std::int64_t height, width, pixel_bytes;
    std::int64_t stride[2];  ///< of pixels for one of dy
    std::int64_t bytes;      ///< of a pixel's channels
  };
  /// Tiles that are multiplied together.
  using Tiles = std::array<TileCursor, 2>;

  /// The unit's channels of dy of the group's tiles.
  void take_dy(std::int64_t first, std::int64_t count) const {
    if (!p_.is_winograd) return pack_dy(first, count);
    const Image dy{dy_ + dy_channel() * p_.size, p_.out_height, p_.out_width,
                   p_.dy_pitch * p_.size,        {1, 1},        dy_channels() * p_.size};
    for_each_pair(first, count, dy, [&](const Tiles& tiles, std::int64_t number, std::int64_t at) {
      transform_dy(tiles, number, at);
    });
  }

  /// The channels of x whose turn it is.
  void take_x(std::int64_t first, std::int64_t count) const {
    if (p_.is_pixelwise()) return pack_pixels_of_x(first, count);
    const Image x{x_ + channel_ * p_.size,      p_.height,       p_.width, p_.x_pitch * p_.size,
                  {p_.stride[0], p_.stride[1]}, width_ * p_.size};
    for_each_pair(first, count, x, [&](const Tiles& tiles, std::int64_t number, std::int64_t at) {
      p_.is_winograd ? transform_x(tiles, number, at) : pack_x(tiles, number, at);
    });
  }

  /// During `work`, for what is packed behind it: pixels [first, end), no more than a group,
  /// channels of x from `channel` on, and all of dy where the group is another one. Windows of more
  /// than a pixel have more products for each pixel, and nothing to win.
  void ask_ahead(std::int64_t first, std::int64_t end, std::int64_t channel,
                 std::int64_t last_channel, std::int64_t work) {
    ahead_ = {};
    if (!p_.is_pixelwise() || first >= end) return;
    const std::int64_t channels = std::min(p_.panels * kPanelChannels, last_channel - channel);
    const PixelsAhead::Run x{x_ + (first * p_.x_pitch + channel) * p_.size, p_.x_pitch * p_.size,
                             channels * p_.size};
    const PixelsAhead::Run dy{dy_ + (first * p_.dy_pitch + dy_channel()) * p_.size,
                              p_.dy_pitch * p_.size,
                              channel > channel_ ? 0 : dy_channels() * p_.size};
    ahead_ = PixelsAhead({dy, x}, std::min(p_.group, end - first), work);
  }

  TileCursor cursor(std::int64_t tile) const {
    return TileCursor(tile, p_.tile_rows(), p_.tile_columns());
  }

  /// Calls pack(tiles, number of them, place in the group) for the group's tiles, by those that are
  /// multiplied together, and asks for what it reads some tiles later: a loop that waits for each
  /// pixel gets a quarter of what memory can give.
  template <class Pack>
  void for_each_pair(std::int64_t first, std::int64_t count, const Image& image,
                     const Pack& pack) const {
    TileCursor next = cursor(first), ahead = cursor(first + kTilesAhead);
    for (std::int64_t at = 0; at < count; at += p_.pair()) {
      const std::int64_t number = std::min(p_.pair(), count - at);
      Tiles tiles{next, next};
      for (std::int64_t i = 0; i < number; ++i) {
        tiles[static_cast<std::size_t>(i)] = next;
        next.advance();
        if (ahead.image < p_.images) fetch(image, ahead);
        ahead.advance();
      }
      pack(tiles, number, at);
    }
  }

  /// Inline: GCC leaves out calls of a function that does nothing else.
  [[gnu::always_inline]] void fetch(const Image& image, const TileCursor& tile) const {
    const std::int64_t extent = p_.tile_extent();
    for (std::int64_t p = 0; p < extent * extent; ++p) {
      const std::int64_t y =
          std::min((tile.row * extent + p / 2) * image.stride[0], image.height - 1);
      const std::int64_t x =
          std::min((tile.column * extent + p % 2) * image.stride[1], image.width - 1);
      const std::byte* const pixel =
          image.data + ((tile.image * image.height + y) * image.width + x) * image.pixel_bytes;
      for (std::int64_t at = 0; at < image.bytes; at += kLine) __builtin_prefetch(pixel + at);
    }
  }

  /// What lies under each tap for the pixels of dy that are multiplied together, to the group's
  /// place `at`.
  void pack_x(const Tiles& tiles, std::int64_t count, std::int64_t at) const {
    const std::int64_t pixel_bytes = p_.x_pitch * p_.size;
    std::array<const std::byte*, 2> images{};
    std::array<std::int64_t, 2> rows{}, columns{};  // under the window's first tap
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      images[i] = x_ + tiles[i].image * p_.height * p_.width * pixel_bytes + channel_ * p_.size;
      rows[i] = tiles[i].row * p_.stride[0] - p_.pad[0];
      columns[i] = tiles[i].column * p_.stride[1] - p_.pad[1];
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

  /// Pixels from `from` on, `pitch` elements apart: what the two below have in common.
  static PixelPack pixels(const std::byte* from, std::int64_t pitch, std::int64_t count) {
    PixelPack pack;
    pack.pixels = from;
    pack.pitch = pitch;
    pack.count = count;
    pack.ahead = kPixelsAhead;
    return pack;
  }

  /// The same of tiles [first, first + count), which are pixels in their order.
  void pack_dy(std::int64_t first, std::int64_t count) const {
    PixelPack pack =
        pixels(dy_ + (first * p_.dy_pitch + dy_channel()) * p_.size, p_.dy_pitch, count);
    pack.channels = dy_channels();
    pack.block = p_.lanes();
    pack.to = z_;
    pack.to_step = p_.lanes() * p_.pair();
    pack.block_step = p_.group * p_.lanes();
    p_.loops->pack_pixels(pack);
  }

  /// The same of x, where a window is a pixel and moved by one.
  void pack_pixels_of_x(std::int64_t first, std::int64_t count) const {
    PixelPack pack = pixels(x_ + (first * p_.x_pitch + channel_) * p_.size, p_.x_pitch, count);
    pack.channels = width_;
    pack.block = kPanelChannels;
    pack.to = v_;
    pack.to_step = p_.v_row() * p_.pair();
    pack.block_step = p_.panel_step();
    p_.loops->pack_pixels(pack);
  }

  /// Patches of the `count` tiles from `tile` on that are multiplied together, to the group's place
  /// `at`.
  void transform_x(const Tiles& tiles, std::int64_t count, std::int64_t at) const {
    const std::int64_t pixel_bytes = p_.x_pitch * p_.size;
    std::array<const void*, 2 * kWinogradPositions> pixels;
    pixels.fill(scratch_ + p_.zeros_at());
    for (std::int64_t i = 0; i < count; ++i) {
      const TileCursor& tile = tiles[static_cast<std::size_t>(i)];
      const std::byte* const image =
          x_ + tile.image * p_.height * p_.width * pixel_bytes + channel_ * p_.size;
      for (std::int64_t p = 0; p < kWinogradPositions; ++p) {
        const std::int64_t y = 2 * tile.row - p_.pad[0] + p / 4;
        const std::int64_t x = 2 * tile.column - p_.pad[1] + p % 4;
        if (y < 0 || y >= p_.height || x < 0 || x >= p_.width) continue;
        pixels[static_cast<std::size_t>(i * kWinogradPositions + p)] =
            image + (y * p_.width + x) * pixel_bytes;
      }
    }
    for_each_panel(pixels, [&](std::int64_t width, std::int64_t step) {
      p_.loops->patches(pixels.data(), width, v_ + (step + at * p_.v_row()) * p_.size, p_.v_step());
    });
  }

  void transform_dy(const Tiles& tiles, std::int64_t count, std::int64_t at) const {
    std::array<const void*, 8> pixels{};
    for (std::int64_t i = 0; i < count; ++i) {
      const TileCursor& tile = tiles[static_cast<std::size_t>(i)];
      for (std::int64_t p = 0; p < 4; ++p) {
        const std::int64_t y = 2 * tile.row + p / 2;
        const std::int64_t x = 2 * tile.column + p % 2;
        if (y >= p_.out_height || x >= p_.out_width) continue;
        const std::int64_t pixel = (tile.image * p_.out_height + y) * p_.out_width + x;
        pixels[static_cast<std::size_t>(4 * i + p)] =
            dy_ + (pixel * p_.dy_pitch + dy_channel()) * p_.size;
      }
    }
    p_.loops->output_gradient(pixels.data(), dy_channels(), p_.vectors,
                              z_ + at * p_.lanes() * p_.size, p_.group * p_.lanes(), p_.z_step());
  }

  /// What the group's tiles, `rows` rows of them, give to the sums of a position and a block, for
  /// the panel that begins `channel` channels behind the first one packed.
  void multiply(std::int64_t channel, std::int64_t position, std::int64_t block,
                std::int64_t rows) {
    const int vectors = p_.vectors_of(block);
    const EvenCut chunks(rows, kChunkRows);
    const EvenCut pieces(std::min(kPanelChannels, width_ - channel), p_.tiles->pixels[vectors - 1]);
    float* const sums = sums_ + position * p_.u_step() + block * p_.channels * p_.lanes() +
                        (channel_ + channel) * vectors * kDirectLanes;
    const std::int64_t z_step = p_.is_winograd ? p_.z_step() : 0;
    const std::byte* z =
        z_ + (position * z_step + (block - blocks_.begin) * p_.group * p_.lanes()) * p_.size;
    const std::byte* v =
        v_ + (channel / kPanelChannels * p_.panel_step() + position * p_.v_step()) * p_.size;
    WinogradProduct product;
    product.v_step = p_.v_row() * p_.pair();
    product.z_step = p_.lanes() * p_.pair();
    product.adds = adds_;
    for (std::int64_t chunk = 0; chunk < chunks.parts(); ++chunk) {
      product.rows = chunks.size(chunk);
      product.z = z;
      product.v = v;
      product.sums = sums;
      for (std::int64_t piece = 0; piece < pieces.parts(); ++piece) {
        const std::int64_t channels = pieces.size(piece);
        p_.loops->row_products[vectors - 1][channels - 1](product);
        ahead_.advance(product.rows * channels);
        product.v = static_cast<const std::byte*>(product.v) + channels * p_.pair() * p_.size;
        product.sums += channels * vectors * kDirectLanes;
      }
      z += product.rows * product.z_step * p_.size;
      v += product.rows * product.v_step * p_.size;
      product.adds = true;
    }
  }

  const WeightsProductsPlan& p_;
  const std::byte* dy_;
  const std::byte* x_;
  const std::byte* scratch_;
  std::byte* v_;
  std::byte* z_;
  Range blocks_;                          ///< of dy's channels
  std::int64_t channel_ = 0, width_ = 0;  ///< of x, of the panels that are packed
  PixelsAhead ahead_;
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

}  // namespace

void WeightsProductsPlan::run(const Addresses& addresses) const {
  std::byte* const scratch = addresses.scratch;
  std::memset(scratch + zeros_at(), 0, static_cast<std::size_t>(threads_at() - zeros_at()));
  auto* const u = reinterpret_cast<float*>(scratch);
  const std::int64_t work = tile_count() * channels * out_channels;
  const Cut tile_cut{tile_count(), parts};
  const std::int64_t most = omp_get_max_threads();
  const bool by_blocks = cuts_dy();
  const std::int64_t pieces_of_part = by_blocks ? blocks() : in_vectors();
  const Cut ranges{pieces_of_part, std::min((most + parts - 1) / parts, pieces_of_part)};
  parallel_for(parts * ranges.parts, work, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t thread = omp_get_thread_num();
    std::vector<std::byte> own;  // more threads than when the kernel was made
    if (thread >= threads) own.resize(static_cast<std::size_t>(per_thread()));
    Unit unit(*this, addresses,
              own.empty() ? scratch + threads_at() + thread * per_thread() : own.data());
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t part = i / ranges.parts;
      const Range range{ranges.first(i % ranges.parts), ranges.first(i % ranges.parts + 1)};
      const Range some_channels{range.begin * kDirectLanes,
                                std::min(range.end * kDirectLanes, channels)};
      unit.run({tile_cut.first(part), tile_cut.first(part + 1)},
               by_blocks ? range : Range{0, blocks()},
               by_blocks ? Range{0, channels} : some_channels, u + part * part_floats());
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

}  // namespace facet::cpu
