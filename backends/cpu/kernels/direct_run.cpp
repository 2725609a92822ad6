#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/direct_plan.h"
#include "backends/cpu/kernels/parallel.h"

namespace facet::cpu {
namespace {

/// Weights of all blocks up to this size are read from the second-level cache for every tile.
constexpr std::int64_t kCachedWeights = 640 * 1024;
/// A chunk of weights, read again for every tile of a group.
constexpr std::int64_t kChunkBytes = 192 * 1024;
/// Tiles of a group: more of them use a chunk more often, fewer keep their inputs in the cache.
constexpr std::int64_t kGroupTiles = 9;
/// Rows of products (of a channel, or of a pair of them) that take longer than a line of the cache
/// takes to come from memory.
constexpr std::int64_t kRowsAhead = 128;
constexpr std::size_t kMostPixels = kDirectPixels;
constexpr std::int64_t kLine = 64;  ///< bytes
/// Tiles that a thread takes at a time, at least: the first of them finds nothing fetched ahead.
constexpr std::int64_t kFewestTiles = 4;

/// What all threads of a run read.
struct Common {
  const DirectPlan& plan;
  const Addresses& addresses;
  const std::byte* zeros;  ///< a pixel of the padding
  const float* bias;       ///< padded to whole blocks
};

/// One thread's share of a convolution.
class Worker {
 public:
  explicit Worker(const Common& common) : c_(common), p_(common.plan) {
    const std::int64_t rows = p_.taps() * p_.channels / (p_.element() == 2 ? 2 : 1);
    blocks_ahead_ = (kRowsAhead - 1) / std::max<std::int64_t>(rows, 1);
    const std::int64_t pixels = p_.chunked ? p_.group_pixels : p_.tiles->pixels[p_.vectors - 1];
    pointers_.resize(static_cast<std::size_t>(pixels * p_.taps()));
    next_.resize(pointers_.size());
    sums_.resize(static_cast<std::size_t>(pixels * p_.lanes()) + kDirectLanes);
    if (p_.stores_directly) set_stores();
    for (std::int64_t block = 0; block < p_.blocks(); ++block) tiles_.push_back(tile_of(block));
  }
  Worker(const Worker&) = delete;  // tiles point into the vectors

  /// Pixels [begin, end), all blocks for one tile after the other.
  void run_pixels(std::int64_t begin, std::int64_t end) {
    const std::int64_t most = p_.tiles->pixels[p_.vectors - 1];
    find_inputs(begin, std::min(most, end - begin), next_.data());
    for (std::int64_t first = begin; first < end; first += most) {
      const std::int64_t count = std::min(most, end - first);
      std::swap(pointers_, next_);
      const std::int64_t next = std::min(most, end - first - count);
      if (next > 0) find_inputs(first + count, next, next_.data());
      for (std::int64_t block = 0; block < p_.blocks(); ++block) {
        const int vectors = vectors_of(block);
        DirectTile& tile = tiles_[static_cast<std::size_t>(block)];
        tile.x = pointers_.data();
        tile.pixel = first;
        tile.next_taps = 0;
        if (next == count) {
          tile.next_taps = std::min<std::int64_t>(p_.taps(), p_.stride[0] * p_.stride[1]);
          tile.next = next_.data() + (p_.taps() - tile.next_taps) * next;
        }
        fetch_stores(tile, block);
        function(vectors, count)(tile);
        if (tile.stores == nullptr) finish(block, vectors, first, count);
      }
    }
  }

  /// One block for pixels [begin, end): chunk after chunk of the weights, tile after tile.
  void run_group(std::int64_t block, std::int64_t begin, std::int64_t end) {
    const int vectors = vectors_of(block);
    const std::int64_t most = p_.tiles->pixels[vectors - 1];
    for (std::int64_t first = begin; first < end; first += most) {
      const std::int64_t count = std::min(most, end - first);
      find_inputs(first, count, &pointers_[at_tile(first - begin)]);
    }
    for (std::int64_t tap = 0; tap < p_.taps(); tap += p_.chunk_taps) {
      for (std::int64_t channel = 0; channel < p_.channels; channel += p_.chunk_channels) {
        DirectTile tile = tiles_[static_cast<std::size_t>(block)];
        tile.taps = std::min(p_.chunk_taps, p_.taps() - tap);
        tile.channels = std::min(p_.chunk_channels, p_.channels - channel);
        tile.x_offset = channel * p_.element();
        tile.weights = static_cast<const std::byte*>(tile.weights) +
                       (tap * p_.channels + channel) * p_.lanes() * p_.element();
        ask_ahead(tile, (end - begin + most - 1) / most);
        const bool goes_on = tap > 0 || channel > 0;
        const bool is_last = tap + tile.taps == p_.taps() && channel + tile.channels == p_.channels;
        if (!is_last) tile.stores = nullptr;
        if (goes_on) tile.init_step = vectors * kDirectLanes;
        for (std::int64_t first = begin; first < end; first += most) {
          const std::int64_t count = std::min(most, end - first);
          tile.x = &pointers_[at_tile(first - begin)] + tap * count;
          tile.pixel = first;
          tile.sums = &sums_[static_cast<std::size_t>((first - begin) * vectors * kDirectLanes)];
          if (goes_on) tile.init = tile.sums;
          tile.fetched = tile.stores;
          tile.fetched_pixel = first;
          function(vectors, count)(tile);
          tile.ahead = static_cast<const std::byte*>(tile.ahead) + tile.ahead_step * rows_of(tile);
        }
      }
    }
    if (!p_.stores_directly) finish(block, vectors, begin, end - begin);
  }

 private:
  /// The last block may need fewer vectors than its weights have.
  int vectors_of(std::int64_t block) const {
    const std::int64_t left = p_.out_channels - block * p_.lanes();
    return static_cast<int>(
        std::min<std::int64_t>((left + kDirectLanes - 1) / kDirectLanes, p_.vectors));
  }
  DirectFunction function(int vectors, std::int64_t pixels) const {
    return p_.tiles->functions[vectors - 1][pixels - 1];
  }
  std::size_t at_tile(std::int64_t pixel) const {
    return static_cast<std::size_t>(pixel * p_.taps());
  }

  std::int64_t rows_of(const DirectTile& tile) const {
    return tile.taps * tile.channels / (p_.element() == 2 ? 2 : 1);
  }

  /// Behind a chunk of weights lies the one of the next tiles: each of the `tiles` that read this
  /// one asks for its part of that. The first of them would wait for it line by line.
  void ask_ahead(DirectTile& tile, std::int64_t tiles) const {
    const std::int64_t row = tile.weights_step * p_.element();
    const auto* const weights = static_cast<const std::byte*>(tile.weights);
    const auto* const end = c_.addresses.operands[1] +
                            p_.blocks() * p_.taps() * p_.channels * p_.lanes() * p_.element();
    tile.ahead = weights + rows_of(tile) * row;
    tile.ahead_step = std::min<std::int64_t>((row + tiles - 1) / tiles, kLine);
    if (tile.ahead == end) tile.ahead = c_.addresses.operands[1];
  }

  /// Lines of the tile's results, or, where its sums take less time than memory, of a block behind,
  /// maybe of a tile behind.
  void fetch_stores(DirectTile& tile, std::int64_t block) const {
    tile.fetched = nullptr;
    if (tile.stores == nullptr) return;
    const std::int64_t most = p_.tiles->pixels[p_.vectors - 1];
    const std::int64_t next = block + blocks_ahead_;
    const std::int64_t pixel = tile.pixel + next / p_.blocks() * most;
    // A block of fewer vectors stands alone, or is the last.
    const bool fetches = (next < p_.blocks() || pixel + most <= p_.pixels()) &&
                         vectors_of(next % p_.blocks()) >= vectors_of(block);
    if (fetches) {
      tile.fetched = &stores_[static_cast<std::size_t>(next % p_.blocks() * p_.vectors)];
    }
    tile.fetched_pixel = pixel;
  }

  /// What all tiles of a block have in common.
  DirectTile tile_of(std::int64_t block) {
    DirectTile tile;
    const std::int64_t size = p_.taps() * p_.channels * p_.lanes() * p_.element();
    tile.taps = p_.taps();
    tile.channels = p_.channels;
    tile.weights = c_.addresses.operands[1] + block * size;
    tile.weights_step = p_.lanes() * (p_.element() == 2 ? 2 : 1);
    tile.weights_tap_step = p_.channels * p_.lanes();
    tile.init = c_.bias + block * p_.lanes();
    tile.sums = sums_.data();
    // Each block fetches its part of the next tile's input.
    const std::int64_t line = 64 / p_.element();
    const std::int64_t lines = (p_.channels + line - 1) / line;
    tile.next_first = lines * block / p_.blocks() * line;
    tile.next_last = lines * (block + 1) / p_.blocks() * line;
    if (p_.stores_directly) tile.stores = &stores_[static_cast<std::size_t>(block * p_.vectors)];
    tile.narrow = p_.results[0].rows.type == Float::bf16;
    tile.ahead = tile.weights;
    return tile;
  }

  /// pointers[t * count + i]: the input pixel under tap t of result pixel first + i.
  void find_inputs(std::int64_t first, std::int64_t count, const void** pointers) const {
    const std::int64_t pixel_bytes = p_.x.pitch * p_.element();
    if (p_.is_pointwise()) {
      const std::byte* const x = c_.addresses.operands[0] + first * pixel_bytes;
      for (std::int64_t i = 0; i < count; ++i) pointers[i] = x + i * pixel_bytes;
      return;
    }
    std::array<std::int64_t, kMostPixels> rows, columns;  // under the window's first tap
    std::array<std::int64_t, kMostPixels> offsets;
    std::int64_t column = first % p_.out_width;
    std::int64_t row = first / p_.out_width % p_.out_height;
    std::int64_t image = first / p_.out_width / p_.out_height;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      rows[i] = row * p_.stride[0] - p_.pad[0];
      columns[i] = column * p_.stride[1] - p_.pad[1];
      offsets[i] = ((image * p_.height + rows[i]) * p_.width + columns[i]) * pixel_bytes;
      if (++column < p_.out_width) continue;
      column = 0;
      if (++row < p_.out_height) continue;
      row = 0;
      ++image;
    }
    const std::byte* const x = c_.addresses.operands[0];
    const auto height = static_cast<std::uint64_t>(p_.height);
    const auto width = static_cast<std::uint64_t>(p_.width);
    for (std::int64_t ky = 0; ky < p_.kernel[0]; ++ky) {
      const std::int64_t down = ky * p_.dilation[0];
      for (std::int64_t kx = 0; kx < p_.kernel[1]; ++kx, pointers += count) {
        const std::int64_t right = kx * p_.dilation[1];
        const std::int64_t tap = (down * p_.width + right) * pixel_bytes;
        for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
          // A negative place is a large unsigned one.
          const bool inside = (static_cast<std::uint64_t>(rows[i] + down) < height) &
                              (static_cast<std::uint64_t>(columns[i] + right) < width);
          pointers[i] = inside ? x + (offsets[i] + tap) : c_.zeros;
        }
      }
    }
  }

  /// Results straight from the registers, vector by vector.
  void set_stores() {
    const DirectResult* result = p_.results.data();
    for (std::int64_t channel = 0; channel < p_.out_channels; channel += kDirectLanes) {
      while (channel >= result->last) ++result;
      DirectStore store;
      const std::int64_t size = size_of(result->rows.type);
      store.y = c_.addresses.results[static_cast<std::size_t>(result - p_.results.data())] +
                (channel - result->first) * size;
      store.pitch = result->rows.pitch * size;
      store.channels = std::min(result->last - channel, kDirectLanes);
      for (const DirectEntry& entry : p_.entries) {
        if (entry.function == Function::relu) {
          store.relu = true;
          continue;
        }
        const std::byte* const from =
            c_.addresses.operands[static_cast<std::size_t>(entry.operand)];
        if (entry.function == Function::prelu) {
          store.slopes = reinterpret_cast<const float*>(from) + channel;
          continue;
        }
        const std::int64_t element = size_of(entry.rows.type);
        store.residual = from + channel * element;
        store.residual_pitch = entry.rows.pitch * element;
      }
      stores_.push_back(store);
    }
  }

  /// The epilogue on the sums of a block, and the way into the results.
  void finish(std::int64_t block, int vectors, std::int64_t first, std::int64_t count) {
    const std::int64_t step = vectors * kDirectLanes;
    const std::int64_t start = block * p_.lanes();
    const std::int64_t end = std::min(start + step, p_.out_channels);
    for (const DirectResult& result : p_.results) {
      const std::int64_t from = std::max(start, result.first);
      const std::int64_t to = std::min(end, result.last);
      if (from >= to) continue;
      std::byte* const y =
          c_.addresses.results[static_cast<std::size_t>(&result - p_.results.data())] +
          (first * result.rows.pitch + from - result.first) * size_of(result.rows.type);
      float* const rows = sums_.data() + (from - start);
      const bool in_place = result.rows.type == Float::f32 && !p_.entries.empty();
      for (std::size_t e = 0; e < p_.entries.size(); ++e) {
        const bool last = in_place && e + 1 == p_.entries.size();
        apply(p_.entries[e], rows, step, from, first, count, to - from,
              last ? reinterpret_cast<float*>(y) : rows, last ? result.rows.pitch : step);
      }
      if (in_place) continue;
      for (std::int64_t i = 0; i < count; ++i) {
        store_floats(result.rows.type, rows + i * step,
                     y + i * result.rows.pitch * size_of(result.rows.type), 1, to - from);
      }
    }
  }

  void apply(const DirectEntry& entry, float* rows, std::int64_t step, std::int64_t channel,
             std::int64_t first, std::int64_t count, std::int64_t width, float* y,
             std::int64_t y_step) const {
    std::array<Tile, 2> arguments;
    arguments[0] = {rows, step, true, Float::f32};
    if (entry.operand >= 0) {
      const std::byte* const from = c_.addresses.operands[static_cast<std::size_t>(entry.operand)];
      if (entry.scalar) {
        arguments[1] = {from, 0, false, Float::f32};
      } else if (entry.per_channel) {
        arguments[1] = {from + channel * 4, 0, true, Float::f32};
      } else {
        arguments[1] = {from + (first * entry.rows.pitch + channel) * size_of(entry.rows.type),
                        entry.rows.pitch, true, entry.rows.type};
      }
    }
    if (entry.operand < 0 && y == rows && width == step) {  // one row: each has a price of its own
      width *= count;
      count = 1;
    }
    vector_loops().functions[static_cast<int>(entry.function)](y, y_step, arguments.data(), count,
                                                               width);
  }

  const Common& c_;
  const DirectPlan& p_;
  std::vector<const void*> pointers_;
  std::vector<const void*> next_;  ///< of the tile behind
  std::vector<float> sums_;
  std::int64_t blocks_ahead_ = 0;    ///< whose results are asked for
  std::vector<DirectStore> stores_;  ///< one a vector of channels
  std::vector<DirectTile> tiles_;    ///< one a block
};

}  // namespace

std::size_t DirectPlan::scratch_bytes() const {
  const std::int64_t zeros = rounded_up(channels * element(), 64);
  return static_cast<std::size_t>(zeros + blocks() * lanes() * 4);
}

void DirectPlan::run(const Addresses& addresses) const {
  const std::int64_t zeros = rounded_up(channels * element(), 64);
  std::memset(addresses.scratch, 0, scratch_bytes());
  auto* const padded = reinterpret_cast<float*>(addresses.scratch + zeros);
  if (bias >= 0) {
    std::memcpy(padded, addresses.operands[static_cast<std::size_t>(bias)],
                static_cast<std::size_t>(out_channels * 4));
  }
  const Common common{*this, addresses, addresses.scratch, padded};
  const std::int64_t work = pixels() * blocks() * taps() * channels;
  if (!chunked) {
    const std::int64_t tile = tiles->pixels[vectors - 1];
    const std::int64_t count = (pixels() + tile - 1) / tile;
    parallel_shares(count, kFewestTiles, work, [&] {
      return [&, worker = Worker(common)](std::int64_t begin, std::int64_t end) mutable {
        worker.run_pixels(begin * tile, std::min(end * tile, pixels()));
      };
    });
    return;
  }
  const std::int64_t groups = (pixels() + group_pixels - 1) / group_pixels;
  parallel_shares(blocks() * groups, 1, work, [&] {
    return [&, worker = Worker(common)](std::int64_t begin, std::int64_t end) mutable {
      for (std::int64_t unit = begin; unit < end; ++unit) {
        const std::int64_t first = unit / blocks() * group_pixels;
        worker.run_group(unit % blocks(), first, std::min(first + group_pixels, pixels()));
      }
    };
  });
}

void cut_direct(DirectPlan& plan) {
  // An addition first, then an activation; each may be missing.
  std::size_t known = 0;
  const auto next = [&]() -> const DirectEntry* {
    return known < plan.entries.size() ? &plan.entries[known] : nullptr;
  };
  if (next() != nullptr && next()->function == Function::add && next()->rows.pitch > 0 &&
      next()->rows.type == plan.x.type) {
    ++known;
  }
  if (next() != nullptr && (next()->function == Function::relu ||
                            (next()->function == Function::prelu && next()->per_channel))) {
    ++known;
  }
  plan.stores_directly = known == plan.entries.size();
  for (const DirectResult& result : plan.results) {
    const bool is_whole = result.first % kDirectLanes == 0;
    const bool is_alike = result.rows.type == plan.results[0].rows.type;
    plan.stores_directly = plan.stores_directly && is_whole && is_alike;
  }
  const std::int64_t window = plan.taps() * plan.channels * plan.element();
  plan.chunked = window * plan.lanes() * plan.blocks() > kCachedWeights;
  const std::int64_t most =
      std::max<std::int64_t>(kChunkBytes / (plan.lanes() * plan.element()), 2);
  plan.chunk_channels = std::min(plan.channels, most / 2 * 2);
  plan.chunk_taps = plan.chunk_channels == plan.channels
                        ? std::clamp(most / plan.channels, std::int64_t{1}, plan.taps())
                        : 1;
  // Groups of even size, each a whole number of tiles but the last.
  const std::int64_t tile = plan.tiles->pixels[plan.vectors - 1];
  const std::int64_t tiles = (plan.pixels() + tile - 1) / tile;
  const std::int64_t groups = (tiles + kGroupTiles - 1) / kGroupTiles;
  plan.group_pixels = (tiles + groups - 1) / groups * tile;
}

}  // namespace facet::cpu
