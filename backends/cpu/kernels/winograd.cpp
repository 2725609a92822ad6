#include "backends/cpu/kernels/winograd.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels/winograd_plan.h"

namespace facet::cpu {
namespace {

/// Fewer channels on a side spend more on transforms than the products save.
constexpr std::int64_t kFewestChannels = 32;
/// Tiles and products of an image in bf16. Fewer leave a small batch with little but transformed
/// weights; batches are not asked, as an image's result shall not depend on its company.
constexpr std::int64_t kFewestImageTiles = 32;
constexpr std::int64_t kFewestImageProducts = 16 << 20;
/// Where weights in bf16 come transformed, transforms of pixels and a second parallel region are
/// what is left to pay: of more channels, and of tiles, or many products. Batches win with fewer,
/// a single image loses.
constexpr std::int64_t kFewestPairedChannels = 48;
constexpr std::int64_t kManyImageProducts = 64 << 20;
/// Beyond this the transformed weights would dominate the memory of a small batch. A training step
/// holds as many bytes of weights, gradients and moments, and its batches are large; transformed
/// once, they are no scratch.
constexpr std::int64_t kMostWeightBytes = 5 << 20;
constexpr std::int64_t kMostTrainedBytes = 20 << 20;
/// Transformed patches of a group of tiles and the sums of a block, to stay in the second-level
/// cache beside transformed weights.
constexpr std::int64_t kGroupBytes = 256 * 1024;
/// Transformed weights that do not stay there with them are read again for every group, which must
/// have this many tiles to hide it.
constexpr std::int64_t kCachedWeightBytes = 1 << 20;
constexpr std::int64_t kFewestTiles = 48;

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

DType dtype_of(const DirectPlan& plan) {
  return plan.x.type == Float::f32 ? DType::f32 : DType::bf16;
}

/// A 3 x 3 window moved by one, one result of the image's dtype that leaves from registers.
bool suits_window(const DirectPlan& plan) {
  const auto is = [](const std::int64_t(&pair)[2], std::int64_t value) {
    return pair[0] == value && pair[1] == value;
  };
  return plan.results.size() == 1 && plan.results[0].rows.type == plan.x.type &&
         plan.stores_directly && is(plan.kernel, 3) && is(plan.stride, 1) && is(plan.dilation, 1);
}

std::int64_t image_tiles(const DirectPlan& plan) {
  return ((plan.out_height + 1) / 2) * ((plan.out_width + 1) / 2);
}
std::int64_t image_products(const DirectPlan& plan) {
  return kWinogradPositions * image_tiles(plan) * plan.channels * plan.out_channels;
}

std::unique_ptr<Kernel> make(WinogradPlan winograd) {
  const DirectPlan& conv = winograd.conv;
  winograd.tile_rows = (conv.out_height + 1) / 2;
  winograd.tile_columns = (conv.out_width + 1) / 2;
  winograd.in_row = rounded_up(conv.channels, kDirectLanes);
  winograd.threads = omp_get_max_threads();
  winograd.loops = winograd_loops_for(dtype_of(conv));
  const std::int64_t tile = conv.tiles->pixels[conv.vectors - 1];
  const std::int64_t bytes =
      kWinogradPositions * (winograd.in_row * conv.element() + conv.lanes() * WinogradPlan::kFloat);
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

/// What transforms weights ahead of all runs.
struct TransformedWeights {
  WinogradPlan winograd;

  std::string implementation() const {
    return std::string("winograd_transform:") + winograd.loops->name;
  }
  std::size_t scratch_bytes() const { return 0; }
  void run(const Addresses& addresses) const {
    winograd.transform_all_weights(addresses.operands[0], addresses.results[0]);
  }
};

}  // namespace

const WinogradLoops* winograd_loops_for(DType dtype) {
  if (direct_tiles_for(dtype) == nullptr) return nullptr;
  if (dtype == DType::bf16) return winograd_loops_avx512_bf16();
  return cpu_features().avx512 ? winograd_loops_avx512() : winograd_loops_avx2();
}

bool suits_winograd(const DirectPlan& plan) {
  const bool pays_weights =
      plan.trained_weights || plan.x.type == Float::f32 ||
      (image_tiles(plan) >= kFewestImageTiles && image_products(plan) >= kFewestImageProducts);
  return pays_weights && suits_window(plan) &&
         is_worth_it(dtype_of(plan), plan.channels, plan.out_channels,
                     plan.trained_weights ? kMostTrainedBytes : kMostWeightBytes);
}

bool suits_winograd_once(const DirectPlan& plan) {
  const bool pays_regions =
      plan.x.type == Float::f32 ||
      (std::min(plan.channels, plan.out_channels) >= kFewestPairedChannels &&
       (image_tiles(plan) >= kFewestImageTiles || image_products(plan) >= kManyImageProducts));
  return pays_regions && suits_window(plan) &&
         is_worth_it(dtype_of(plan), plan.channels, plan.out_channels, kMostTrainedBytes);
}

std::unique_ptr<Kernel> make_winograd_kernel(const DirectPlan& plan) {
  WinogradPlan winograd;
  winograd.conv = plan;
  return make(std::move(winograd));
}

Layout winograd_weights_layout(const DirectPlan& plan) {
  WinogradPlan winograd;
  winograd.conv = plan;
  return fmt::format("opaque{}xwinograd{}", winograd.weight_bytes(), plan.lanes());
}

std::unique_ptr<Kernel> lower_winograd_weights(const View& weights, const View& result) {
  const DType dtype = weights.type.dtype;
  if (weights.type.rank() != 4 || !is_row_major(weights) || direct_tiles_for(dtype) == nullptr) {
    return nullptr;
  }
  TransformedWeights kernel;
  DirectPlan& conv = kernel.winograd.conv;
  conv.row_weights = true;
  conv.tiles = direct_tiles_for(dtype);
  conv.x.type = dtype == DType::f32 ? Float::f32 : Float::bf16;
  conv.out_channels = weights.type.shape[0].factor;
  conv.channels = weights.type.shape[1].factor;
  conv.vectors = direct_vectors(*conv.tiles, conv.out_channels);
  kernel.winograd.loops = winograd_loops_for(dtype);
  if (result.type.layout != winograd_weights_layout(conv)) return nullptr;
  return make_kernel(std::move(kernel));
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
