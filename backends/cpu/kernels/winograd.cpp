#include "backends/cpu/kernels/winograd.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/winograd_loops.h"
#include "ir/layout.h"

namespace facet::cpu {
namespace {

/// Fewer channels on a side spend more on transforms than the products save.
constexpr std::int64_t kFewestChannels = 32;
/// Beyond this the transformed weights would dominate the memory of a small batch. A training step
/// holds as many bytes of weights, gradients and moments, and its batches are large.
constexpr std::int64_t kMostWeightBytes = 5 << 20;
constexpr std::int64_t kMostTrainedBytes = 20 << 20;
/// Transformed patches and sums of a group of tiles, to stay in the second-level cache.
constexpr std::int64_t kGroupBytes = 512 * 1024;
/// Transformed weights that do not stay there with them are read again for every group, which must
/// have this many tiles to hide it.
constexpr std::int64_t kCachedWeightBytes = 1 << 20;
constexpr std::int64_t kFewestTiles = 48;
constexpr std::int64_t kFloat = 4;

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

struct WinogradPlan {
  DirectPlan conv;
  bool is_gradient = false;                      ///< of a convolution's x: weights are row-major
  std::int64_t tile_rows = 0, tile_columns = 0;  ///< of 2 x 2 results, per image
  std::int64_t in_row = 0;                       ///< channels of a transformed pixel, padded
  std::int64_t group = 0;                        ///< tiles that are transformed together
  std::int64_t threads = 1;                      ///< that have scratch of their own

  std::int64_t out_row() const { return conv.blocks() * conv.lanes(); }
  std::int64_t tiles() const { return conv.images * tile_rows * tile_columns; }
  /// Scratch, in floats: transformed weights, a bias and a pixel of zeros, then each thread's own.
  std::int64_t weights_step() const { return conv.channels * out_row(); }
  std::int64_t bias_at() const { return kWinogradPositions * weights_step(); }
  std::int64_t zeros_at() const { return bias_at() + out_row(); }
  std::int64_t zeros() const { return std::max(in_row, out_row()); }
  std::int64_t threads_at() const { return rounded_up(zeros_at() + zeros(), 16); }
  std::int64_t per_thread() const { return kWinogradPositions * group * (in_row + out_row()); }

  std::string implementation() const { return "winograd:avx512"; }
  void transform_weights(const float* weights, float* u) const;
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>((threads_at() + threads * per_thread()) * kFloat);
  }
  void run(const Addresses& addresses) const;
};

/// One thread's share of the tiles.
class Worker {
 public:
  Worker(const WinogradPlan& plan, const Addresses& addresses, float* own)
      : p_(plan),
        a_(addresses),
        v_(own),
        m_(own + kWinogradPositions * plan.group * plan.in_row),
        shared_(reinterpret_cast<const float*>(addresses.scratch)) {}

  void run(std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += p_.group) {
      const std::int64_t count = std::min(p_.group, end - first);
      for (std::int64_t i = 0; i < count; ++i) {
        transform_patch(first + i, v_ + i * p_.in_row);
      }
      for (std::int64_t position = 0; position < kWinogradPositions; ++position) {
        multiply(position, count);
      }
      for (std::int64_t i = 0; i < count; ++i) {
        store_tile(first + i, m_ + i * p_.out_row());
      }
    }
  }

 private:
  struct Place {
    std::int64_t image, row, column;  ///< of the tile's first result
  };
  Place place_of(std::int64_t tile) const {
    const std::int64_t row = tile / p_.tile_columns;
    return {row / p_.tile_rows, row % p_.tile_rows * 2, tile % p_.tile_columns * 2};
  }

  void transform_patch(std::int64_t tile, float* v) const {
    const DirectPlan& c = p_.conv;
    const Place at = place_of(tile);
    const auto* const image =
        reinterpret_cast<const float*>(a_.operands[0]) + at.image * c.height * c.width * c.x.pitch;
    std::array<const float*, kWinogradPositions> pixels;
    for (std::int64_t p = 0; p < kWinogradPositions; ++p) {
      const std::int64_t y = at.row - c.pad[0] + p / 4;
      const std::int64_t x = at.column - c.pad[1] + p % 4;
      const bool inside = y >= 0 && y < c.height && x >= 0 && x < c.width;
      pixels[static_cast<std::size_t>(p)] =
          inside ? image + (y * c.width + x) * c.x.pitch : shared_ + p_.zeros_at();
    }
    winograd_loops()->input(pixels.data(), c.channels, v, p_.group * p_.in_row);
  }

  /// Sums of one position for `count` tiles: a product of matrices, by the direct kernel's tiles.
  void multiply(std::int64_t position, std::int64_t count) const {
    const DirectPlan& c = p_.conv;
    const float* const v = v_ + position * p_.group * p_.in_row;
    float* const m = m_ + position * p_.group * p_.out_row();
    for (std::int64_t block = 0; block < c.blocks(); ++block) {
      const std::int64_t left = c.out_channels - block * c.lanes();
      const auto vectors = static_cast<int>(
          std::min<std::int64_t>((left + kDirectLanes - 1) / kDirectLanes, c.vectors));
      const std::int64_t most = c.tiles->pixels[vectors - 1];
      DirectTile tile;
      tile.taps = 1;
      tile.channels = c.channels;
      tile.weights = shared_ + position * p_.weights_step() + block * c.channels * c.lanes();
      tile.weights_step = c.lanes();
      tile.init = shared_ + p_.zeros_at();
      for (std::int64_t first = 0; first < count; first += most) {
        const std::int64_t pixels = std::min(most, count - first);
        std::array<const void*, kDirectPixels> rows;
        for (std::int64_t i = 0; i < pixels; ++i) {
          rows[static_cast<std::size_t>(i)] = v + (first + i) * p_.in_row;
        }
        std::array<DirectStore, kDirectVectors> stores;
        for (int n = 0; n < vectors; ++n) {
          DirectStore& store = stores[static_cast<std::size_t>(n)];
          store.y = m + first * p_.out_row() + block * c.lanes() + n * kDirectLanes;
          store.pitch = p_.out_row() * kFloat;
          store.mask = 0xFFFF;
        }
        tile.x = rows.data();
        tile.stores = stores.data();
        c.tiles->functions[vectors - 1][pixels - 1](tile);
      }
    }
  }

  void store_tile(std::int64_t tile, const float* m) const {
    const DirectPlan& c = p_.conv;
    const DirectResult& result = c.results[0];
    const Place at = place_of(tile);
    auto* const image = reinterpret_cast<float*>(a_.results[0]) +
                        at.image * c.out_height * c.out_width * result.rows.pitch;
    std::array<float*, 4> pixels;
    for (std::int64_t p = 0; p < 4; ++p) {
      const std::int64_t y = at.row + p / 2;
      const std::int64_t x = at.column + p % 2;
      const bool inside = y < c.out_height && x < c.out_width;
      pixels[static_cast<std::size_t>(p)] =
          inside ? image + (y * c.out_width + x) * result.rows.pitch : nullptr;
    }
    const bool relu = !c.entries.empty() && c.entries[0].function == Function::relu;
    const float* slopes = nullptr;
    if (!c.entries.empty() && !relu) {
      slopes = reinterpret_cast<const float*>(
          a_.operands[static_cast<std::size_t>(c.entries[0].operand)]);
    }
    winograd_loops()->output(m, p_.group * p_.out_row(), c.out_channels, shared_ + p_.bias_at(),
                             relu, slopes, pixels.data());
  }

  const WinogradPlan& p_;
  const Addresses& a_;
  float* v_;  ///< [positions][group][in_row]
  float* m_;  ///< [positions][group][out_row]
  const float* shared_;
};

/// u [positions][block][channel][lanes], of weights [block][tap][channel][lanes] or, for a
/// gradient, [channel][channel of the result][tap].
void WinogradPlan::transform_weights(const float* weights, float* u) const {
  const std::int64_t lanes = conv.lanes();
  const std::int64_t rows = conv.blocks() * conv.channels;
  parallel_for(rows, rows * lanes * 9, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t block = row / conv.channels;
      float* const to = u + row * lanes;
      if (is_gradient) {
        const std::int64_t first = block * lanes;
        const std::int64_t channel = row % conv.channels;
        winograd_loops()->turned_weights(weights + (channel * conv.out_channels + first) * 9,
                                         conv.out_channels - first, conv.vectors, to,
                                         weights_step());
      } else {
        const float* const from = weights + (block * 8 * conv.channels + row) * lanes;
        winograd_loops()->weights(from, conv.channels * lanes, conv.vectors, to, weights_step());
      }
    }
  });
}

void WinogradPlan::run(const Addresses& addresses) const {
  auto* const scratch = reinterpret_cast<float*>(addresses.scratch);
  std::memset(scratch + bias_at(), 0, static_cast<std::size_t>((out_row() + zeros()) * kFloat));
  if (conv.bias >= 0) {
    std::memcpy(scratch + bias_at(), addresses.operands[static_cast<std::size_t>(conv.bias)],
                static_cast<std::size_t>(conv.out_channels * kFloat));
  }
  transform_weights(reinterpret_cast<const float*>(addresses.operands[1]), scratch);
  const std::int64_t work = tiles() * conv.channels * out_row();
  parallel_for(tiles(), work, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t thread = omp_get_thread_num();
    if (thread < threads) {
      Worker(*this, addresses, scratch + threads_at() + thread * per_thread()).run(begin, end);
    } else {  // more threads than when the kernel was made
      std::vector<float> own(static_cast<std::size_t>(per_thread()));
      Worker(*this, addresses, own.data()).run(begin, end);
    }
  });
}

/// Fewer channels spend more on transforms than products save; transformed weights have a bound.
bool is_worth_it(std::int64_t channels, std::int64_t out_row, std::int64_t most_bytes) {
  return winograd_loops() != nullptr && direct_tiles_for(DType::f32) != nullptr &&
         channels >= kFewestChannels && out_row >= kFewestChannels &&
         kWinogradPositions * channels * out_row * kFloat <= most_bytes;
}

/// Of a conv or a backward node of one: f32, 3 x 3, moved by one.
bool has_suitable_window(const Node& node, const Shape& weight) {
  const Attributes& a = node.attributes();
  const Ints ones = {1, 1};
  return node.operand(0).dtype() == DType::f32 && node.operand(1).dtype() == DType::f32 &&
         weight[2] == Dim(3) && weight[3] == Dim(3) && a.ints("strides") == ones &&
         a.ints("dilations") == ones && a.integer("groups") == 1;
}

std::unique_ptr<Kernel> make(WinogradPlan winograd) {
  const DirectPlan& conv = winograd.conv;
  winograd.tile_rows = (conv.out_height + 1) / 2;
  winograd.tile_columns = (conv.out_width + 1) / 2;
  winograd.in_row = rounded_up(conv.channels, kDirectLanes);
  winograd.threads = omp_get_max_threads();
  const std::int64_t tile = conv.tiles->pixels[conv.vectors - 1];
  const std::int64_t bytes = kWinogradPositions * (winograd.in_row + winograd.out_row()) * kFloat;
  const std::int64_t share = (winograd.tiles() + winograd.threads - 1) / winograd.threads;
  const bool reread = kWinogradPositions * winograd.weights_step() * kFloat > kCachedWeightBytes;
  const std::int64_t fewest = reread ? rounded_up(kFewestTiles, tile) : tile;
  const std::int64_t most = std::max(kGroupBytes / bytes / tile * tile, fewest);
  winograd.group = std::min(most, rounded_up(share, tile));
  return make_kernel(std::move(winograd));
}

}  // namespace

bool suits_winograd(const DirectPlan& plan) {
  const auto is = [](const std::int64_t(&pair)[2], std::int64_t value) {
    return pair[0] == value && pair[1] == value;
  };
  const bool adds = !plan.entries.empty() && plan.entries[0].function == Function::add;
  return plan.x.type == Float::f32 && plan.results.size() == 1 && plan.stores_directly && !adds &&
         is(plan.kernel, 3) && is(plan.stride, 1) && is(plan.dilation, 1) &&
         plan.out_channels >= kFewestChannels &&
         is_worth_it(plan.channels, plan.blocks() * plan.lanes(),
                     plan.trained_weights ? kMostTrainedBytes : kMostWeightBytes);
}

std::unique_ptr<Kernel> make_winograd_kernel(const DirectPlan& plan) {
  WinogradPlan winograd;
  winograd.conv = plan;
  return make(std::move(winograd));
}

bool suits_winograd_training(const Node& conv) {
  const Shape& weight = conv.operand(1).shape();
  return has_suitable_window(conv, weight) && weight[0].factor >= kFewestChannels &&
         is_worth_it(weight[1].factor, weight[0].factor, kMostTrainedBytes);
}

bool suits_winograd_gradient(const Node& node) {
  const Shape& weight = node.operand(1).shape();
  return has_suitable_window(node, weight) && weight[1].factor >= kFewestChannels &&
         is_worth_it(weight[0].factor, weight[1].factor, kMostTrainedBytes);
}

bool suits_winograd_weights(const Node& node) {
  const Shape& weight = node.result_types()[0].shape;
  return has_suitable_window(node, weight) && weight[0].factor >= kFewestChannels &&
         is_worth_it(weight[1].factor, weight[0].factor, kMostTrainedBytes);
}

std::unique_ptr<Kernel> lower_winograd_gradient(const Node& node, std::span<const View> operands,
                                                const View& result) {
  const std::optional<PixelRows> dy = pixel_rows(operands[0]);
  const std::optional<PixelRows> dx = pixel_rows(result);
  const View& weights = operands[1];
  const bool is_row_major = !is_blocked(weights.type.layout) &&
                            same_strides(static_extents(weights.type.shape), weights.strides,
                                         dense_strides({DType::f32, weights.type.shape, {}}));
  if (!suits_winograd_gradient(node) || !dy || !dx || dx->type != Float::f32 || !is_row_major) {
    return nullptr;
  }
  const std::vector<std::int64_t> in = static_extents(operands[0].type.shape);
  const std::vector<std::int64_t> out = static_extents(result.type.shape);
  WinogradPlan winograd;
  winograd.is_gradient = true;
  DirectPlan& conv = winograd.conv;
  conv.tiles = direct_tiles_for(DType::f32);
  conv.images = in[0];
  conv.channels = in[1];
  conv.height = in[2];
  conv.width = in[3];
  conv.out_channels = out[1];
  conv.out_height = out[2];
  conv.out_width = out[3];
  for (const std::size_t axis : {0, 1}) {
    conv.kernel[axis] = 3;
    conv.pad[axis] = 2 - node.attributes().ints("pads")[axis];
  }
  conv.x = *dy;
  conv.vectors = direct_vectors(conv.out_channels);
  conv.results = {{0, conv.out_channels, *dx}};
  return make(std::move(winograd));
}

}  // namespace facet::cpu
