#include "backends/cpu/kernels/winograd.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/winograd_loops.h"

namespace facet::cpu {
namespace {

/// Fewer channels on a side spend more on transforms than the products save.
constexpr std::int64_t kFewestChannels = 32;
/// Tiles and products of an image in bf16. Fewer leave a small batch with little but transformed
/// weights; batches are not asked, as an image's result shall not depend on its company.
constexpr std::int64_t kFewestImageTiles = 32;
constexpr std::int64_t kFewestImageProducts = 16 << 20;
/// Beyond this the transformed weights would dominate the memory of a small batch. A training step
/// holds as many bytes of weights, gradients and moments, and its batches are large.
constexpr std::int64_t kMostWeightBytes = 5 << 20;
constexpr std::int64_t kMostTrainedBytes = 20 << 20;
/// Transformed patches of a group of tiles and the sums of a block, to stay in the second-level
/// cache.
constexpr std::int64_t kGroupBytes = 512 * 1024;
/// Transformed weights that do not stay there with them are read again for every group, which must
/// have this many tiles to hide it.
constexpr std::int64_t kCachedWeightBytes = 1 << 20;
constexpr std::int64_t kFewestTiles = 48;
constexpr std::int64_t kFloat = 4;
constexpr std::int64_t kLine = 64;

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

struct WinogradPlan {
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

  std::int64_t out_row() const { return conv.blocks() * conv.lanes(); }
  std::int64_t tiles() const { return conv.images * tile_rows * tile_columns; }
  std::int64_t pair() const { return conv.element() == 2 ? 2 : 1; }
  /// From one position to the next: no power of two, which would crowd the cache. Of transformed
  /// weights and patches in elements, of sums in floats.
  std::int64_t u_step() const {
    return conv.channels * (by_blocks ? conv.lanes() : out_row()) + kLine;
  }
  std::int64_t v_step() const { return group * in_row + kLine; }
  std::int64_t m_step() const { return group * conv.lanes() + kDirectLanes; }

  /// Scratch, in bytes: transformed weights, a bias, a pixel of zeros, then each thread's patches
  /// [positions][tiles][in_row] and sums [positions][tiles][lanes] of a block. By blocks, weights
  /// (of a block) and patches (of all tiles) change places.
  std::int64_t bias_at() const { return by_blocks ? patch_bytes() : weight_bytes(); }
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
  std::int64_t sums_at() const { return by_blocks ? weight_bytes() : patch_bytes(); }
  std::int64_t per_thread() const { return sums_at() + kWinogradPositions * m_step() * kFloat; }

  std::string implementation() const { return std::string("winograd:") + loops->name; }
  /// Rows [begin, end), the first of them to `u`.
  void transform_weights(const std::byte* weights, std::int64_t begin, std::int64_t end,
                         std::byte* u) const;
  std::int64_t weight_rows() const { return conv.blocks() * conv.channels / pair(); }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(threads_at() + threads * per_thread());
  }
  void run(const Addresses& addresses) const;
};

/// One thread's share of the tiles, or of the blocks.
class Worker {
 public:
  Worker(const WinogradPlan& plan, const Addresses& addresses, std::byte* own)
      : p_(plan),
        c_(plan.conv),
        a_(addresses),
        u_(plan.by_blocks ? own : addresses.scratch),
        v_(plan.by_blocks ? addresses.scratch : own),
        m_(reinterpret_cast<float*>(own + plan.sums_at())) {}

  void transform_patches(std::int64_t begin, std::int64_t end) {
    for (std::int64_t tile = begin; tile < end; ++tile) transform_patch(tile, tile);
  }

  /// Of all tiles, which are transformed.
  void run_blocks(std::int64_t begin, std::int64_t end) {
    const std::int64_t rows = c_.channels / p_.pair();
    for (std::int64_t block = begin; block < end; ++block) {
      p_.transform_weights(a_.operands[1], block * rows, (block + 1) * rows, u_);
      for (std::int64_t position = 0; position < kWinogradPositions; ++position) {
        multiply(position, block, p_.tiles());
      }
      for (std::int64_t i = 0; i < p_.tiles(); ++i) store_tile(i, i, block);
    }
  }

  void run_tiles(std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += p_.group) {
      const std::int64_t count = std::min(p_.group, end - first);
      for (std::int64_t i = 0; i < count; ++i) transform_patch(first + i, i);
      for (std::int64_t block = 0; block < c_.blocks(); ++block) {
        for (std::int64_t position = 0; position < kWinogradPositions; ++position) {
          multiply(position, block, count);
        }
        for (std::int64_t i = 0; i < count; ++i) store_tile(first + i, i, block);
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
  const std::byte* zeros() const { return a_.scratch + p_.zeros_at(); }

  void transform_patch(std::int64_t tile, std::int64_t number) const {
    const Place at = place_of(tile);
    const std::int64_t pixel_bytes = c_.x.pitch * c_.element();
    const std::byte* const image = a_.operands[0] + at.image * c_.height * c_.width * pixel_bytes;
    std::array<const void*, kWinogradPositions> pixels;
    for (std::int64_t p = 0; p < kWinogradPositions; ++p) {
      const std::int64_t y = at.row - c_.pad[0] + p / 4;
      const std::int64_t x = at.column - c_.pad[1] + p % 4;
      const bool inside = y >= 0 && y < c_.height && x >= 0 && x < c_.width;
      pixels[static_cast<std::size_t>(p)] =
          inside ? image + (y * c_.width + x) * pixel_bytes : zeros();
    }
    p_.loops->input(pixels.data(), c_.channels, v_ + number * p_.in_row * c_.element(),
                    p_.v_step());
  }

  /// Sums of one position and block for `count` tiles: a product of matrices.
  void multiply(std::int64_t position, std::int64_t block, std::int64_t count) const {
    const int vectors = vectors_of(block);
    const std::int64_t most = c_.tiles->pixels[vectors - 1];
    const std::byte* const v = v_ + position * p_.v_step() * c_.element();
    WinogradProduct product;
    product.v_step = p_.in_row;
    const std::int64_t before = p_.by_blocks ? 0 : block * c_.channels * c_.lanes();
    product.z = u_ + (position * p_.u_step() + before) * c_.element();
    product.z_step = c_.lanes() * p_.pair();
    product.rows = c_.channels / p_.pair();
    for (std::int64_t first = 0; first < count; first += most) {
      const std::int64_t tiles = std::min(most, count - first);
      product.v = v + first * p_.in_row * c_.element();
      product.sums = m_ + position * p_.m_step() + first * vectors * kDirectLanes;
      p_.loops->products[vectors - 1][tiles - 1](product);
    }
  }

  void store_tile(std::int64_t tile, std::int64_t number, std::int64_t block) const {
    const Place at = place_of(tile);
    const std::int64_t channel = block * c_.lanes();
    const std::int64_t channels = std::min(c_.lanes(), c_.out_channels - channel);
    WinogradStore store;
    const PixelRows* residual = nullptr;
    const std::byte* residuals = nullptr;
    for (const DirectEntry& entry : c_.entries) {
      if (entry.function == Function::relu) {
        store.relu = true;
        continue;
      }
      const std::byte* const from = a_.operands[static_cast<std::size_t>(entry.operand)];
      if (entry.function == Function::prelu) {
        store.slopes = reinterpret_cast<const float*>(from) + channel;
      } else {
        residual = &entry.rows;
        residuals = from + channel * c_.element();
        store.adds = true;
      }
    }
    const std::int64_t pitch = c_.results[0].rows.pitch;
    for (std::int64_t p = 0; p < 4; ++p) {
      const std::int64_t y = at.row + p / 2;
      const std::int64_t x = at.column + p % 2;
      if (y >= c_.out_height || x >= c_.out_width) continue;
      const std::int64_t pixel = (at.image * c_.out_height + y) * c_.out_width + x;
      const auto i = static_cast<std::size_t>(p);
      store.pixels[i] = a_.results[0] + (pixel * pitch + channel) * c_.element();
      if (residual != nullptr) {
        store.residuals[i] = residuals + pixel * residual->pitch * c_.element();
      }
    }
    const auto* const bias = reinterpret_cast<const float*>(a_.scratch + p_.bias_at()) + channel;
    const float* const m = m_ + number * vectors_of(block) * kDirectLanes;
    p_.loops->output(m, p_.m_step(), channels, bias, store);
  }

  /// The last block may need fewer vectors than its weights have.
  int vectors_of(std::int64_t block) const {
    const std::int64_t left = c_.out_channels - block * c_.lanes();
    return static_cast<int>(
        std::min<std::int64_t>((left + kDirectLanes - 1) / kDirectLanes, c_.vectors));
  }

  const WinogradPlan& p_;
  const DirectPlan& c_;
  const Addresses& a_;
  std::byte* u_;  ///< [positions][block, if not one alone][channels][lanes]
  std::byte* v_;  ///< [positions][group][in_row]
  float* m_;      ///< [positions][group][lanes]
};

/// u [positions][block][channel][lanes], of weights [block][tap][channel][lanes] or row-major. A
/// row is a channel's (a pair's) lanes.
void WinogradPlan::transform_weights(const std::byte* weights, std::int64_t begin, std::int64_t end,
                                     std::byte* u) const {
  const std::int64_t lanes = conv.lanes() * pair();
  const std::int64_t channels = conv.channels / pair();
  const std::int64_t size = conv.element();
  for (std::int64_t row = begin; row < end; ++row, u += lanes * size) {
    const std::int64_t block = row / channels;
    if (conv.row_weights) {
      const std::int64_t first = block * conv.lanes();
      const std::int64_t channel = row % channels * pair();
      WinogradRows windows;
      windows.lane_step = is_gradient ? 9 : conv.channels * 9;
      windows.pair_step = is_gradient ? conv.out_channels * 9 : 9;
      windows.weights = weights + (channel * windows.pair_step + first * windows.lane_step) * size;
      windows.lanes = conv.out_channels - first;
      windows.turned = is_gradient;
      loops->row_weights(windows, conv.vectors, u, u_step());
    } else {
      const std::byte* const from = weights + (block * 8 * channels + row) * lanes * size;
      loops->weights(from, conv.channels * conv.lanes(), conv.vectors, u, u_step());
    }
  }
}

void WinogradPlan::run(const Addresses& addresses) const {
  std::byte* const scratch = addresses.scratch;
  std::memset(scratch + bias_at(), 0, static_cast<std::size_t>(threads_at() - bias_at()));
  if (conv.bias >= 0) {
    std::memcpy(scratch + bias_at(), addresses.operands[static_cast<std::size_t>(conv.bias)],
                static_cast<std::size_t>(conv.out_channels * kFloat));
  }
  const std::int64_t work = tiles() * conv.channels * out_row();
  const auto share = [&](std::int64_t count, void (Worker::*part)(std::int64_t, std::int64_t)) {
    parallel_for(count, work, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t thread = omp_get_thread_num();
      std::vector<std::byte> own;  // more threads than when the kernel was made
      if (thread >= threads) own.resize(static_cast<std::size_t>(per_thread()));
      Worker worker(*this, addresses,
                    own.empty() ? scratch + threads_at() + thread * per_thread() : own.data());
      (worker.*part)(begin, end);
    });
  };
  if (by_blocks) {
    share(tiles(), &Worker::transform_patches);
    share(conv.blocks(), &Worker::run_blocks);
  } else {
    parallel_for(weight_rows(), weight_rows() * conv.lanes() * pair() * 9,
                 [&](std::int64_t begin, std::int64_t end) {
                   const std::int64_t row = conv.lanes() * pair() * conv.element();
                   transform_weights(addresses.operands[1], begin, end, scratch + begin * row);
                 });
    share(tiles(), &Worker::run_tiles);
  }
}

/// Enough channels on both sides, and transformed weights within their bound.
bool is_worth_it(DType dtype, std::int64_t channels, std::int64_t out_channels,
                 std::int64_t most_bytes) {
  return winograd_loops_for(dtype) != nullptr && channels >= kFewestChannels &&
         out_channels >= kFewestChannels &&
         kWinogradPositions * channels * out_channels * size_of(dtype) <= most_bytes;
}

/// Of a conv or a backward node of one: images of one dtype, 3 x 3, moved by one.
bool has_suitable_window(const Node& node, const Shape& weight) {
  const Attributes& a = node.attributes();
  const Ints ones = {1, 1};
  return node.operand(0).dtype() == node.operand(1).dtype() && weight[2] == Dim(3) &&
         weight[3] == Dim(3) && a.ints("strides") == ones && a.ints("dilations") == ones &&
         a.integer("groups") == 1;
}

std::unique_ptr<Kernel> make(WinogradPlan winograd) {
  const DirectPlan& conv = winograd.conv;
  winograd.tile_rows = (conv.out_height + 1) / 2;
  winograd.tile_columns = (conv.out_width + 1) / 2;
  winograd.in_row = rounded_up(conv.channels, kDirectLanes);
  winograd.threads = omp_get_max_threads();
  winograd.loops = winograd_loops_for(conv.x.type == Float::f32 ? DType::f32 : DType::bf16);
  const std::int64_t tile = conv.tiles->pixels[conv.vectors - 1];
  const std::int64_t bytes =
      kWinogradPositions * (winograd.in_row * conv.element() + conv.lanes() * kFloat);
  const std::int64_t share = (winograd.tiles() + winograd.threads - 1) / winograd.threads;
  // Blocks that the threads cannot share evenly would leave one of them idle.
  const std::int64_t blocks = conv.blocks();
  winograd.by_blocks = winograd.tiles() <= conv.out_channels &&
                       (blocks % winograd.threads == 0 || blocks >= 4 * winograd.threads);
  if (winograd.by_blocks) {
    winograd.group = winograd.tiles();
    return make_kernel(std::move(winograd));
  }
  const std::int64_t weight_bytes =
      kWinogradPositions * conv.channels * winograd.out_row() * conv.element();
  const bool reread = weight_bytes > kCachedWeightBytes;
  const std::int64_t fewest = reread ? rounded_up(kFewestTiles, tile) : tile;
  const std::int64_t most = std::max(kGroupBytes / bytes / tile * tile, fewest);
  winograd.group = std::min(most, rounded_up(share, tile));
  return make_kernel(std::move(winograd));
}

}  // namespace

const WinogradLoops* winograd_loops_for(DType dtype) {
  if (direct_tiles_for(dtype) == nullptr) return nullptr;
  if (dtype == DType::bf16) return winograd_loops_avx512_bf16();
  return cpu_features().avx512 ? winograd_loops_avx512() : winograd_loops_avx2();
}

bool suits_winograd(const DirectPlan& plan) {
  const auto is = [](const std::int64_t(&pair)[2], std::int64_t value) {
    return pair[0] == value && pair[1] == value;
  };
  const std::int64_t tiles = ((plan.out_height + 1) / 2) * ((plan.out_width + 1) / 2);
  const std::int64_t products = kWinogradPositions * tiles * plan.channels * plan.out_channels;
  const bool pays_weights = plan.trained_weights || plan.x.type == Float::f32 ||
                            (tiles >= kFewestImageTiles && products >= kFewestImageProducts);
  return plan.results.size() == 1 && pays_weights && plan.results[0].rows.type == plan.x.type &&
         plan.stores_directly && is(plan.kernel, 3) && is(plan.stride, 1) && is(plan.dilation, 1) &&
         is_worth_it(plan.x.type == Float::f32 ? DType::f32 : DType::bf16, plan.channels,
                     plan.out_channels,
                     plan.trained_weights ? kMostTrainedBytes : kMostWeightBytes);
}

std::unique_ptr<Kernel> make_winograd_kernel(const DirectPlan& plan) {
  WinogradPlan winograd;
  winograd.conv = plan;
  return make(std::move(winograd));
}

bool suits_winograd_training(const Node& conv) {
  const Shape& weight = conv.operand(1).shape();
  return has_suitable_window(conv, weight) && is_worth_it(conv.operand(0).dtype(), weight[1].factor,
                                                          weight[0].factor, kMostTrainedBytes);
}

bool suits_winograd_gradient(const Node& node) {
  const Shape& weight = node.operand(1).shape();
  const bool has_pairs = node.operand(0).dtype() == DType::f32 || weight[0].factor % 2 == 0;
  return has_pairs && has_suitable_window(node, weight) &&
         is_worth_it(node.operand(0).dtype(), weight[0].factor, weight[1].factor,
                     kMostTrainedBytes);
}

bool suits_winograd_weights(const Node& node) {
  const Shape& weight = node.result_types()[0].shape;
  return has_suitable_window(node, weight) && is_worth_it(node.operand(0).dtype(), weight[1].factor,
                                                          weight[0].factor, kMostTrainedBytes);
}

std::unique_ptr<Kernel> lower_winograd_gradient(const Node& node, std::span<const View> operands,
                                                const View& result) {
  const std::optional<PixelRows> dy = pixel_rows(operands[0]);
  const std::optional<PixelRows> dx = pixel_rows(result);
  if (!suits_winograd_gradient(node) || !dy || !dx || dx->type != dy->type ||
      !is_row_major(operands[1])) {
    return nullptr;
  }
  const std::vector<std::int64_t> in = static_extents(operands[0].type.shape);
  const std::vector<std::int64_t> out = static_extents(result.type.shape);
  WinogradPlan winograd;
  winograd.is_gradient = true;
  DirectPlan& conv = winograd.conv;
  conv.row_weights = true;
  conv.tiles = direct_tiles_for(operands[0].type.dtype);
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
  conv.vectors = direct_vectors(*conv.tiles, conv.out_channels);
  conv.results = {{0, conv.out_channels, *dx}};
  return make(std::move(winograd));
}

}  // namespace facet::cpu
