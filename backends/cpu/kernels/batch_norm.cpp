#include <algorithm>
#include <cmath>
#include <string>

#include "backends/cpu/kernels/channel_blocks.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/train_kernels.h"

// Batch normalisation of a batch and its gradient. Both read their operands twice: once for the
// sums over a channel, once for the result. Sums are f32 over kRowsInFloat rows and double beyond;
// parts of the work keep their own, and are added in order, so that bits do not depend on the
// threads.

namespace facet::cpu {
namespace {

/// Places whose mean the sums of squares are taken around: near the channel's mean, so that little
/// is lost when its square is subtracted.
constexpr std::int64_t kProbes = 8;

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

PerChannel per_channel(const Node& node, const View& view) {
  return {float_type(node, view.type.dtype), view.strides[0]};
}

/// The scratch: double sums, then arrays of f32 per channel.
struct Scratch {
  double* sums = nullptr;
  float* arrays = nullptr;
  std::int64_t row = 0;

  Scratch(const ChannelPlan& plan, std::size_t counts, std::byte* scratch)
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

struct BatchNormTrainPlan {
  ChannelPlan sums;    ///< x
  ChannelPlan result;  ///< x, y
  PerChannel operands[4];
  PerChannel results[4];
  double epsilon = 0, momentum = 0;

  enum Array { kShift, kMean, kFactor, kBias, kOther, kArrays };

  std::string implementation() const { return std::string("batch_norm:") + train_loops().name; }
  std::size_t scratch_bytes() const { return Scratch::bytes(sums, 2, kArrays); }

  void run(const Addresses& addresses) const {
    const Scratch scratch(sums, 2, addresses.scratch);
    probe(addresses.operands[0], scratch);
    std::byte* const x[] = {addresses.operands[0]};
    std::fill_n(scratch.sums, part_sum_bytes(sums, 2) / sizeof(double), 0.0);
    parallel_for(sums.parts, sums.elements(), [&](std::int64_t begin, std::int64_t end) {
      ChannelWalk walk(sums, /*written=*/false);
      ChannelArguments arguments(sums, {scratch.array(kShift)});
      ChannelSums totals(sums, 2);
      for (std::int64_t part = begin; part < end; ++part) {
        walk.run(part, x, [&](ChannelBlock& b) {
          train_loops().shifted_sums[static_cast<int>(b.type)](
              b.reads[0], b.rows, b.cols, arguments.at(b, 0), totals.open(b, 0), totals.open(b, 1));
          totals.close(b, part_sums(sums, scratch.sums, 2, part));
        });
      }
    });
    add_parts(sums, scratch.sums, 2);
    conclude(addresses, scratch);
    std::byte* const views[] = {addresses.operands[0], addresses.results[0]};
    parallel_for(result.parts, result.elements(), [&](std::int64_t begin, std::int64_t end) {
      ChannelWalk walk(result, /*written=*/true);
      ChannelArguments arguments(
          result, {scratch.array(kMean), scratch.array(kFactor), scratch.array(kBias)});
      for (std::int64_t part = begin; part < end; ++part) {
        walk.run(part, views, [&](ChannelBlock& b) {
          train_loops().normalize[static_cast<int>(b.type)](b.reads[0], b.writes, b.rows, b.cols,
                                                            arguments.at(b, 0), arguments.at(b, 1),
                                                            arguments.at(b, 2));
        });
      }
    });
  }

 private:
  void probe(const std::byte* x, const Scratch& scratch) const {
    float* const shift = scratch.array(kShift);
    float* const values = scratch.array(kOther);
    std::fill_n(shift, sums.channels, 0.0f);
    for (std::int64_t k = 0; k < kProbes; ++k) {
      std::int64_t place = sums.places * k / kProbes;
      std::int64_t offset = 0;
      for (std::size_t d = sums.loops.depth(); d-- > 0;) {
        offset += place % sums.loops.extents[d] * sums.loops.strides[0][d];
        place /= sums.loops.extents[d];
      }
      load_floats(sums.types[0], x + offset * size_of(sums.types[0]), sums.channel_steps[0], values,
                  sums.channels);
      for (std::int64_t c = 0; c < sums.channels; ++c) shift[c] += values[c] / kProbes;
    }
    // A shift that is no number would take the statistics with it; without one they are sound.
    for (std::int64_t c = 0; c < sums.channels; ++c) {
      if (!std::isfinite(shift[c])) shift[c] = 0;
    }
  }

  /// Statistics into the results, and what `normalize` needs.
  void conclude(const Addresses& addresses, const Scratch& scratch) const {
    const std::int64_t channels = sums.channels;
    const auto n = static_cast<double>(sums.places);
    float* const mean = scratch.array(kMean);
    float* const factor = scratch.array(kFactor);
    float* const variance = scratch.array(kShift);
    float* const other = scratch.array(kOther);
    for (std::int64_t c = 0; c < channels; ++c) {
      const double moved = scratch.sums[c] / n;
      const double square = scratch.sums[channels + c] / n - moved * moved;
      const double biased = square < 0 ? 0 : square;
      mean[c] = static_cast<float>(variance[c] + moved);
      variance[c] = static_cast<float>(biased * (n / std::max(n - 1, 1.0)));
      factor[c] = static_cast<float>(1 / std::sqrt(biased + epsilon));
    }
    results[0].store(mean, addresses.results[1], channels);
    results[1].store(factor, addresses.results[2], channels);
    const auto move = [&](std::size_t i, const float* batch) {
      operands[i].load(addresses.operands[i + 1], other, channels);
      for (std::int64_t c = 0; c < channels; ++c) {
        other[c] = static_cast<float>((1 - momentum) * other[c] + momentum * batch[c]);
      }
      results[i].store(other, addresses.results[i + 1], channels);
    };
    move(2, mean);
    move(3, variance);
    operands[0].load(addresses.operands[1], other, channels);
    for (std::int64_t c = 0; c < channels; ++c) factor[c] *= other[c];
    operands[1].load(addresses.operands[2], scratch.array(kBias), channels);
  }
};

struct BatchNormBwdPlan {
  ChannelPlan sums;    ///< dy, x
  ChannelPlan result;  ///< dy, x, dx
  PerChannel operands[3];
  PerChannel results[2];

  enum Array { kMean, kFactor, kSlope, kBias, kInverse, kArrays };

  std::string implementation() const { return std::string("batch_norm_bwd:") + train_loops().name; }
  std::size_t scratch_bytes() const { return Scratch::bytes(sums, 2, kArrays); }

  void run(const Addresses& addresses) const {
    const Scratch scratch(sums, 2, addresses.scratch);
    operands[1].load(addresses.operands[3], scratch.array(kMean), sums.channels);
    std::byte* const views[] = {addresses.operands[0], addresses.operands[1], addresses.results[0]};
    std::fill_n(scratch.sums, part_sum_bytes(sums, 2) / sizeof(double), 0.0);
    parallel_for(sums.parts, sums.elements(), [&](std::int64_t begin, std::int64_t end) {
      ChannelWalk walk(sums, /*written=*/false);
      ChannelArguments arguments(sums, {scratch.array(kMean)});
      ChannelSums totals(sums, 2);
      for (std::int64_t part = begin; part < end; ++part) {
        walk.run(part, std::span(views, 2), [&](ChannelBlock& b) {
          train_loops().product_sums[static_cast<int>(b.type)](
              b.reads[0], b.reads[1], b.rows, b.cols, arguments.at(b, 0), totals.open(b, 0),
              totals.open(b, 1));
          totals.close(b, part_sums(sums, scratch.sums, 2, part));
        });
      }
    });
    add_parts(sums, scratch.sums, 2);
    conclude(addresses, scratch);
    parallel_for(result.parts, result.elements(), [&](std::int64_t begin, std::int64_t end) {
      ChannelWalk walk(result, /*written=*/true);
      ChannelArguments arguments(result, {scratch.array(kMean), scratch.array(kFactor),
                                          scratch.array(kSlope), scratch.array(kBias)});
      for (std::int64_t part = begin; part < end; ++part) {
        walk.run(part, views, [&](ChannelBlock& b) {
          train_loops().normalize_bwd[static_cast<int>(b.type)](
              b.reads[0], b.reads[1], b.writes, b.rows, b.cols, arguments.at(b, 0),
              arguments.at(b, 1), arguments.at(b, 2), arguments.at(b, 3));
        });
      }
    });
  }

 private:
  /// dx = a * dy - a * inv^2 * mean(dy * (x - mean)) * (x - mean) - a * mean(dy), a = scale * inv.
  void conclude(const Addresses& addresses, const Scratch& scratch) const {
    const std::int64_t channels = sums.channels;
    const auto n = static_cast<double>(sums.places);
    float* const factor = scratch.array(kFactor);
    float* const inverse = scratch.array(kInverse);
    float* const slope = scratch.array(kSlope);
    float* const bias = scratch.array(kBias);
    operands[0].load(addresses.operands[2], factor, channels);
    operands[2].load(addresses.operands[4], inverse, channels);
    for (std::int64_t c = 0; c < channels; ++c) {
      slope[c] = static_cast<float>(scratch.sums[channels + c] * inverse[c]);
      bias[c] = static_cast<float>(scratch.sums[c]);
    }
    results[0].store(slope, addresses.results[1], channels);
    results[1].store(bias, addresses.results[2], channels);
    for (std::int64_t c = 0; c < channels; ++c) {
      const double inv = inverse[c];
      const double a = factor[c] * inv;
      factor[c] = static_cast<float>(a);
      slope[c] = static_cast<float>(-a * inv * inv * scratch.sums[channels + c] / n);
      bias[c] = static_cast<float>(-a * scratch.sums[c] / n);
    }
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_batch_norm_train(const Node& node, std::span<const View> operands,
                                               std::span<const View> results) {
  check_unblocked(node, operands, results);
  BatchNormTrainPlan plan;
  const View views[] = {operands[0], results[0]};
  plan.sums = plan_channels(node, operands.first(1));
  plan.result = plan_channels(node, views);
  for (std::size_t i = 0; i < 4; ++i) {
    plan.operands[i] = per_channel(node, operands[i + 1]);
    plan.results[i] = per_channel(node, results[i + 1]);
  }
  plan.epsilon = node.attributes().number("epsilon");
  plan.momentum = node.attributes().number("momentum");
  return make_kernel(std::move(plan));
}

std::unique_ptr<Kernel> lower_batch_norm_bwd(const Node& node, std::span<const View> operands,
                                             std::span<const View> results) {
  check_unblocked(node, operands, results);
  BatchNormBwdPlan plan;
  const View views[] = {operands[0], operands[1], results[0]};
  plan.sums = plan_channels(node, std::span(views).first(2));
  plan.result = plan_channels(node, views);
  for (std::size_t i = 0; i < 3; ++i) plan.operands[i] = per_channel(node, operands[i + 2]);
  for (std::size_t i = 0; i < 2; ++i) plan.results[i] = per_channel(node, results[i + 1]);
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
