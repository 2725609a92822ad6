#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "backends/cpu/kernels/channel_blocks.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/train_kernels.h"

/// What the kernels of batch normalisation share.
namespace facet::cpu {

/// A vector of f32, bf16 or f16 of one number per channel.
struct PerChannel {
  Float type = Float::f32;
  std::int64_t step = 1;

  void load(const std::byte* from, float* to, std::int64_t channels) const {
    load_floats(type, from, step, to, channels);
  }
  void store(const float* from, std::byte* to, std::int64_t channels) const {
    store_floats(type, from, to, step, channels);
  }
};

inline PerChannel per_channel(const Node& node, const View& view) {
  return {float_type(node, view.type.dtype), view.strides[0]};
}

/// The scratch: double sums, then arrays of f32 per channel.
struct NormScratch {
  double* sums = nullptr;
  float* arrays = nullptr;
  std::int64_t row = 0;

  NormScratch(const ChannelPlan& plan, std::size_t counts, std::byte* scratch)
      : sums(reinterpret_cast<double*>(scratch)),
        arrays(reinterpret_cast<float*>(scratch + aligned_bytes(part_sum_bytes(plan, counts)))),
        row(padded_channels(plan.channels)) {}

  float* array(std::int64_t i) const { return arrays + i * row; }
  static std::size_t aligned_bytes(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
  static std::size_t bytes(const ChannelPlan& plan, std::size_t counts, std::size_t arrays) {
    const auto row = static_cast<std::size_t>(padded_channels(plan.channels));
    return aligned_bytes(part_sum_bytes(plan, counts)) + arrays * row * sizeof(float);
  }
};

/// What follows the normalisation; see the ops.
struct NormTail {
  bool adds = false;  ///< a residual
  bool has_slope = false;
  bool relu = false;
  PerChannel slope;
  bool one_slope = false;

  bool empty() const { return !adds && !has_slope && !relu; }
  std::string name() const {
    return std::string(adds ? "+add" : "") + (relu ? "+relu" : has_slope ? "+prelu" : "");
  }
  /// What values below zero are multiplied by.
  void load(const std::byte* from, float* to, std::int64_t channels) const {
    if (!has_slope) return static_cast<void>(std::fill_n(to, channels, relu ? 0.0F : 1.0F));
    slope.load(from, to, one_slope ? 1 : channels);
    if (one_slope) std::fill_n(to, channels, to[0]);
  }
};

inline NormTail tail_of(const Node& node) {
  NormTail tail;
  for (const std::string& entry : node.attributes().strings("tail")) {
    tail.adds |= entry == "add";
    tail.relu |= entry == "relu";
    tail.has_slope |= entry == "prelu";
  }
  return tail;
}

inline void set_slope(NormTail& tail, const Node& node, const View& view) {
  tail.slope = per_channel(node, view);
  tail.one_slope = view.type.shape[0].factor == 1;
}

/// y = tail((x - mean) * factor + bias) over x, a residual if the tail adds one, and y.
struct Normalization {
  ChannelPlan plan;
  NormTail tail;

  /// f32 per channel, padded.
  struct Factors {
    const float* mean = nullptr;
    const float* factor = nullptr;
    const float* bias = nullptr;
    const float* slope = nullptr;
  };
  void run(std::span<std::byte* const> views, const Factors& factors) const;
};

/// The normalisation of `node`, whose first extra operand is number 5. `y` is where it goes.
Normalization plan_normalization(const Node& node, std::span<const View> operands, const View& y);
/// Addresses for `Normalization::run`.
std::vector<std::byte*> normalization_views(const Normalization& plan, const Addresses& addresses);

}  // namespace facet::cpu
