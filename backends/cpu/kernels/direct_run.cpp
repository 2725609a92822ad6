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
constexpr std::size_t kMostPixels = kDirectPixels;

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
    const std::int64_t pixels = p_.chunked ? p_.group_pixels : p_.tiles->pixels[p_.vectors - 1];
    pointers_.resize(static_cast<std::size_t>(pixels * p_.taps()));
    next_.resize(pointers_.size());
    sums_.resize(static_cast<std::size_t>(pixels * p_.lanes()) + kDirectLanes);
  }

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
        DirectTile tile = first_chunk(block);
        std::array<DirectStore, kDirectVectors> stores;
        tile.x = pointers_.data();
        tile.sums = sums_.data();
        if (p_.stores_directly) set_stores(tile, stores, block, vectors, first);
        tile.taps = p_.taps();
        tile.channels = p_.channels;
        if (block == 0 && next == count) {
          tile.next_taps = std::min<std::int64_t>(p_.taps(), p_.stride[0] * p_.stride[1]);
          tile.next = next_.data() + (p_.taps() - tile.next_taps) * next;
        }
        function(vectors, count)(tile);
        if (tile.stores == nullptr) finish(block, vectors, first, count, sums_.data());
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
        DirectTile tile = first_chunk(block);
        tile.taps = std::min(p_.chunk_taps, p_.taps() - tap);
        tile.channels = std::min(p_.chunk_channels, p_.channels - channel);
        tile.x_offset = channel * p_.element();
        tile.weights = static_cast<const std::byte*>(tile.weights) +
                       (tap * p_.channels + channel) * p_.lanes() * p_.element();
        const bool goes_on = tap > 0 || channel > 0;
        const bool is_last = tap + tile.taps == p_.taps() && channel + tile.channels == p_.channels;
        for (std::int64_t first = begin; first < end; first += most) {
          const std::int64_t count = std::min(most, end - first);
          float* const sums = &sums_[static_cast<std::size_t>((first - begin) * p_.lanes())];
          tile.x = &pointers_[at_tile(first - begin)] + tap * count;
          tile.sums = sums;
          if (goes_on) {
            tile.init = sums;
            tile.init_step = vectors * kDirectLanes;
          }
          std::array<DirectStore, kDirectVectors> stores;
          if (is_last && p_.stores_directly) set_stores(tile, stores, block, vectors, first);
          function(vectors, count)(tile);
        }
      }
    }
    if (p_.stores_directly) return;
    for (std::int64_t first = begin; first < end; first += most) {
      finish(block, vectors, first, std::min(most, end - first),
             &sums_[static_cast<std::size_t>((first - begin) * p_.lanes())]);
    }
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

  DirectTile first_chunk(std::int64_t block) const {
    DirectTile tile;
    const std::int64_t size = p_.taps() * p_.channels * p_.lanes() * p_.element();
    tile.weights = c_.addresses.operands[1] + block * size;
    tile.weights_step = p_.lanes() * (p_.element() == 2 ? 2 : 1);
    tile.weights_tap_step = p_.channels * p_.lanes();
    tile.init = c_.bias + block * p_.lanes();
    return tile;
  }

  /// pointers[t * count + i]: the input pixel under tap t of result pixel first + i.
  void find_inputs(std::int64_t first, std::int64_t count, const void** pointers) const {
    const std::int64_t pixel_bytes = p_.x.pitch * p_.element();
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

  /// Results straight from the registers.
  void set_stores(DirectTile& tile, std::array<DirectStore, kDirectVectors>& stores,
                  std::int64_t block, int vectors, std::int64_t first) const {
    const DirectResult* result = p_.results.data();
    for (int v = 0; v < vectors; ++v) {
      const std::int64_t channel = block * p_.lanes() + v * kDirectLanes;
      while (channel >= result->last) ++result;
      DirectStore& store = stores[static_cast<std::size_t>(v)];
      const std::int64_t size = size_of(result->rows.type);
      store.y = c_.addresses.results[static_cast<std::size_t>(result - p_.results.data())] +
                (first * result->rows.pitch + channel - result->first) * size;
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
        store.residual = from + (first * entry.rows.pitch + channel) * element;
        store.residual_pitch = entry.rows.pitch * element;
      }
    }
    tile.stores = stores.data();
    tile.narrow = p_.results[0].rows.type == Float::bf16;
  }

  /// The epilogue on the sums of a tile, and the way into the results.
  void finish(std::int64_t block, int vectors, std::int64_t first, std::int64_t count,
              float* sums) const {
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
      float* const rows = sums + (from - start);
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
    vector_loops().functions[static_cast<int>(entry.function)](y, y_step, arguments.data(), count,
                                                               width);
  }

  const Common& c_;
  const DirectPlan& p_;
  std::vector<const void*> pointers_;
  std::vector<const void*> next_;  ///< of the tile behind
  std::vector<float> sums_;
};

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

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
    parallel_for(pixels(), work, [&](std::int64_t begin, std::int64_t end) {
      Worker(common).run_pixels(begin, end);
    });
    return;
  }
  const std::int64_t groups = (pixels() + group_pixels - 1) / group_pixels;
  parallel_for(blocks() * groups, work, [&](std::int64_t begin, std::int64_t end) {
    Worker worker(common);
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t first = unit / blocks() * group_pixels;
      worker.run_group(unit % blocks(), first, std::min(first + group_pixels, pixels()));
    }
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
