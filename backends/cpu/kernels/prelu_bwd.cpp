#include <algorithm>
#include <numeric>
#include <string>

#include "backends/cpu/kernels/channel_blocks.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/train_kernels.h"

namespace facet::cpu {
namespace {

struct PreluBwdPlan {
  ChannelPlan channels;  ///< dy, x, dx
  Float slope_type = Float::f32;
  std::int64_t slope_step = 0;  ///< 0 where all channels share one
  Float dslope_type = Float::f32;
  std::int64_t dslope_step = 1;
  bool shared = false;

  std::string implementation() const { return std::string("prelu_bwd:") + train_loops().name; }
  std::size_t sum_bytes() const { return (part_sum_bytes(channels, 1) + 63) / 64 * 64; }
  std::size_t scratch_bytes() const {
    return sum_bytes() +
           static_cast<std::size_t>(padded_channels(channels.channels)) * sizeof(float);
  }

  void run(const Addresses& addresses) const {
    auto* const sums = reinterpret_cast<double*>(addresses.scratch);
    auto* const slopes = reinterpret_cast<float*>(addresses.scratch + sum_bytes());
    load_floats(slope_type, addresses.operands[2], slope_step, slopes, channels.channels);
    std::fill_n(sums, part_sum_bytes(channels, 1) / sizeof(double), 0.0);
    std::byte* const views[] = {addresses.operands[0], addresses.operands[1], addresses.results[0]};
    parallel_for(channels.parts, channels.elements(), [&](std::int64_t begin, std::int64_t end) {
      ChannelWalk walk(channels, /*written=*/true);
      ChannelArguments arguments(channels, {slopes});
      ChannelSums totals(channels, 1);
      for (std::int64_t part = begin; part < end; ++part) {
        walk.run(part, views, [&](ChannelBlock& b) {
          train_loops().prelu_bwd[static_cast<int>(b.type)](b.reads[0], b.reads[1], b.writes,
                                                            b.rows, b.cols, arguments.at(b, 0),
                                                            totals.open(b, 0));
          totals.close(b, part_sums(channels, sums, 1, part));
        });
      }
    });
    add_parts(channels, sums, 1);
    if (shared) sums[0] = std::accumulate(sums, sums + channels.channels, 0.0);
    const std::int64_t count = shared ? 1 : channels.channels;
    for (std::int64_t c = 0; c < count; ++c) slopes[c] = static_cast<float>(sums[c]);
    store_floats(dslope_type, slopes, addresses.results[1], dslope_step, count);
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_prelu_bwd(const Node& node, std::span<const View> operands,
                                        std::span<const View> results) {
  check_unblocked(node, operands, results);
  PreluBwdPlan plan;
  const View views[] = {operands[0], operands[1], results[0]};
  plan.channels = plan_channels(node, views);
  plan.slope_type = float_type(node, operands[2].type.dtype);
  plan.dslope_type = float_type(node, results[1].type.dtype);
  plan.shared = operands[2].type.shape[0] == Dim(1);
  plan.slope_step = plan.shared ? 0 : operands[2].strides[0];
  plan.dslope_step = results[1].strides[0];
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
