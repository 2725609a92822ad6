#include "backends/cpu/kernels/weights_products.h"

#include <omp.h>

#include <algorithm>
#include <bit>
#include <optional>
#include <vector>

#include "backends/cpu/kernels/weights_products_plan.h"
#include "backends/cpu/kernels/winograd.h"

namespace facet::cpu {
namespace {

/// Tiles of a group: so many that its sums, which come and go once a group, are cheap beside its
/// products, and so few that what is packed stays in the second-level cache.
constexpr std::int64_t kGroupTiles = 96;
/// The same for Winograd's algorithm, whose tiles have 16 positions: what is transformed for a
/// group stays beside the sums in the second-level cache if that leaves enough of them, more where
/// the sums do not stay there.
constexpr std::int64_t kGroupBytes = 512 * 1024;
constexpr std::int64_t kNearSums = 512 * 1024;
constexpr std::int64_t kFewestTiles = 64;
constexpr std::int64_t kFewestTilesFar = 256;
/// Of the panels that are packed together: a pixel is best read at once, as memory hands out what
/// lies side by side.
constexpr std::int64_t kPackedBytes = 512 * 1024;
/// Sums of all parts, which come from afar at first; and tiles of a part, beside which adding its
/// sums is little. Their number is a power of two, as that of threads mostly is.
constexpr std::int64_t kPartBytes = 2 << 20;
constexpr std::int64_t kMostParts = 8;
constexpr std::int64_t kFewestPartTiles = 512;
/// Fewer channels of x are packed longer than multiplied.
constexpr std::int64_t kFewestChannels = 16;

/// Any window.
bool suits_products(const Node& node) {
  const DType dtype = node.operand(0).dtype();
  return dtype == node.operand(1).dtype() && winograd_loops_for(dtype) != nullptr &&
         node.attributes().integer("groups") == 1 &&
         node.result_types()[0].shape[1].factor >= kFewestChannels;
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
  const auto parts = std::clamp<std::int64_t>(
      std::min(kPartBytes / (plan.part_floats() * WeightsProductsPlan::kFloat),
               plan.tile_count() / kFewestPartTiles),
      1, kMostParts);
  plan.parts = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(parts)));
  plan.group = kGroupTiles;
  if (is_winograd) {
    const bool is_far = plan.part_floats() * WeightsProductsPlan::kFloat > kNearSums;
    const std::int64_t bytes =
        kWinogradPositions * (plan.v_row() + plan.blocks() * plan.lanes()) * plan.size;
    plan.group = std::max(kGroupBytes / bytes, is_far ? kFewestTilesFar : kFewestTiles) / 2 * 2;
  }
  plan.group = std::min(plan.group, rounded_up(plan.tile_count(), 2));
  plan.panels = std::clamp<std::int64_t>(kPackedBytes / (plan.panel_step() * plan.size), 1,
                                         (plan.channels + WeightsProductsPlan::kPanelChannels - 1) /
                                             WeightsProductsPlan::kPanelChannels);
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
