#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "backends/cpu/kernels/batch_norm.h"

// Batch normalisation of a batch and its gradient. Both read their operands twice: once for the
// sums over a channel, once for the result. Sums are f32 over kRowsInFloat rows and double beyond;
// parts of the work keep their own, and are added in order, so that bits do not depend on the
// threads.

namespace facet::cpu {
namespace {

/// Places whose mean the sums of squares are taken around: near the channel's mean, so that little
/// is lost when its square is subtracted.
constexpr std::int64_t kProbes = 8;

struct BatchNormTrainPlan {
  ChannelPlan sums;  ///< x
  Normalization result;
  PerChannel operands[4];
  PerChannel results[4];
  double epsilon = 0, momentum = 0;

  enum Array { kShift, kMean, kFactor, kBias, kOther, kSlope, kArrays };

  std::string implementation() const {
    return "batch_norm" + result.tail.name() + ":" + train_loops().name;
  }
  std::size_t scratch_bytes() const { return NormScratch::bytes(sums, 2, kArrays); }

  void run(const Addresses& addresses) const {
    const NormScratch scratch(sums, 2, addresses.scratch);
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
    result.tail.load(result.tail.has_slope ? addresses.operands[5] : nullptr,
                     scratch.array(kSlope), sums.channels);
    result.run(normalization_views(result, addresses),
               {scratch.array(kMean), scratch.array(kFactor), scratch.array(kBias),
                scratch.array(kSlope)});
  }

 private:
  void probe(const std::byte* x, const NormScratch& scratch) const {
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
  void conclude(const Addresses& addresses, const NormScratch& scratch) const {
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
  ChannelPlan sums;    ///< dy, x; behind an addition dy, x, y, maybe a second dy, g
  ChannelPlan result;  ///< dy or g, x, dx
  PerChannel operands[3];
  PerChannel results[2];
  PerChannel bias;      ///< of the forward pass
  PerChannel dslope;
  NormTail tail;

  enum Array { kMean, kFactor, kSlope, kBias, kInverse, kForward, kForwardBias, kTail, kArrays };

  std::size_t counts() const { return is_recomputed() ? 3 : 2; }
  /// Whether x tells the sign of what the activation got.
  bool is_recomputed() const { return !tail.adds && !tail.empty(); }

  std::string implementation() const {
    return "batch_norm_bwd" + tail.name() + ":" + train_loops().name;
  }
  std::size_t scratch_bytes() const { return NormScratch::bytes(sums, counts(), kArrays); }

  void run(const Addresses& addresses) const {
    const NormScratch scratch(sums, counts(), addresses.scratch);
    prepare(addresses, scratch);
    std::vector<std::byte*> views{addresses.operands[0], addresses.operands[1]};
    if (tail.adds) {
      views.insert(views.end(), addresses.operands.begin() + 5, addresses.operands.end());
      views.push_back(addresses.results[3]);
    }
    std::fill_n(scratch.sums, part_sum_bytes(sums, counts()) / sizeof(double), 0.0);
    parallel_for(sums.parts, sums.elements(), [&](std::int64_t begin, std::int64_t end) {
      ChannelWalk walk(sums, /*written=*/tail.adds);
      ChannelArguments arguments(sums, {scratch.array(kMean), scratch.array(kForward),
                                        scratch.array(kForwardBias), scratch.array(kTail)});
      ChannelSums totals(sums, counts());
      for (std::int64_t part = begin; part < end; ++part) {
        walk.run(part, views, [&](ChannelBlock& b) {
          add_up(b, arguments, totals);
          totals.close(b, part_sums(sums, scratch.sums, counts(), part));
        });
      }
    });
    add_parts(sums, scratch.sums, counts());
    conclude(addresses, scratch);
    std::byte* const passed = tail.adds ? addresses.results[3] : addresses.operands[0];
    std::byte* const last[] = {passed, addresses.operands[1], addresses.results[0]};
    parallel_for(result.parts, result.elements(), [&](std::int64_t begin, std::int64_t end) {
      ChannelWalk walk(result, /*written=*/true);
      ChannelArguments arguments(
          result, {scratch.array(kMean), scratch.array(kFactor), scratch.array(kSlope),
                   scratch.array(kBias), scratch.array(kForward), scratch.array(kForwardBias),
                   scratch.array(kTail)});
      for (std::int64_t part = begin; part < end; ++part) {
        walk.run(part, last, [&](ChannelBlock& b) { finish(b, arguments); });
      }
    });
  }

 private:
  /// What the forward pass multiplied by and added, where its sign is needed.
  void prepare(const Addresses& addresses, const NormScratch& scratch) const {
    operands[1].load(addresses.operands[3], scratch.array(kMean), sums.channels);
    if (!is_recomputed()) return;
    float* const forward = scratch.array(kForward);
    float* const scale = scratch.array(kInverse);
    operands[2].load(addresses.operands[4], forward, sums.channels);
    operands[0].load(addresses.operands[2], scale, sums.channels);
    for (std::int64_t c = 0; c < sums.channels; ++c) forward[c] *= scale[c];
    bias.load(addresses.operands[5], scratch.array(kForwardBias), sums.channels);
    tail.load(tail.has_slope ? addresses.operands[6] : nullptr, scratch.array(kTail),
              sums.channels);
  }

  void add_up(ChannelBlock& b, ChannelArguments& arguments, ChannelSums& totals) const {
    const auto type = static_cast<int>(b.type);
    const TrainLoops& loops = train_loops();
    float* const sum = totals.open(b, 0);
    float* const product = totals.open(b, 1);
    if (tail.adds) {
      loops.masked_sums[type](b.reads[0], b.reads.size() > 3 ? b.reads[3] : Rows{}, b.reads[1],
                              b.reads[2], b.writes, b.rows, b.cols, arguments.at(b, 0), sum,
                              product);
    } else if (is_recomputed()) {
      loops.tail_sums[type](b.reads[0], b.reads[1], b.rows, b.cols, arguments.at(b, 0),
                            arguments.at(b, 1), arguments.at(b, 2), arguments.at(b, 3), sum, product,
                            totals.open(b, 2));
    } else {
      loops.product_sums[type](b.reads[0], b.reads[1], b.rows, b.cols, arguments.at(b, 0), sum,
                               product);
    }
  }

  void finish(ChannelBlock& b, ChannelArguments& a) const {
    const auto type = static_cast<int>(b.type);
    if (!is_recomputed()) {
      return train_loops().normalize_bwd[type](b.reads[0], b.reads[1], b.writes, b.rows, b.cols,
                                               a.at(b, 0), a.at(b, 1), a.at(b, 2), a.at(b, 3));
    }
    train_loops().normalize_tail_bwd[type](b.reads[0], b.reads[1], b.writes, b.rows, b.cols,
                                           a.at(b, 0), a.at(b, 4), a.at(b, 5), a.at(b, 6),
                                           a.at(b, 1), a.at(b, 2), a.at(b, 3));
  }

  /// dx = a * dy - a * inv^2 * mean(dy * (x - mean)) * (x - mean) - a * mean(dy), a = scale * inv.
  void conclude(const Addresses& addresses, const NormScratch& scratch) const {
    const std::int64_t channels = sums.channels;
    const auto n = static_cast<double>(sums.places);
    float* const factor = scratch.array(kFactor);
    float* const inverse = scratch.array(kInverse);
    float* const slope = scratch.array(kSlope);
    float* const shift = scratch.array(kBias);
    operands[0].load(addresses.operands[2], factor, channels);
    operands[2].load(addresses.operands[4], inverse, channels);
    for (std::int64_t c = 0; c < channels; ++c) {
      slope[c] = static_cast<float>(scratch.sums[channels + c] * inverse[c]);
      shift[c] = static_cast<float>(scratch.sums[c]);
    }
    results[0].store(slope, addresses.results[1], channels);
    results[1].store(shift, addresses.results[2], channels);
    if (tail.has_slope) store_slope(addresses, scratch);
    for (std::int64_t c = 0; c < channels; ++c) {
      const double inv = inverse[c];
      const double a = factor[c] * inv;
      factor[c] = static_cast<float>(a);
      slope[c] = static_cast<float>(-a * inv * inv * scratch.sums[channels + c] / n);
      shift[c] = static_cast<float>(-a * scratch.sums[c] / n);
    }
  }

  void store_slope(const Addresses& addresses, const NormScratch& scratch) const {
    float* const to = scratch.array(kBias);
    const double* const from = scratch.sums + 2 * sums.channels;
    if (tail.one_slope) {
      to[0] = static_cast<float>(std::accumulate(from, from + sums.channels, 0.0));
    } else {
      for (std::int64_t c = 0; c < sums.channels; ++c) to[c] = static_cast<float>(from[c]);
    }
    dslope.store(to, addresses.results[3], tail.one_slope ? 1 : sums.channels);
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_batch_norm_train(const Node& node, std::span<const View> operands,
                                               std::span<const View> results) {
  check_unblocked(node, operands, results);
  BatchNormTrainPlan plan;
  plan.sums = plan_channels(node, operands.first(1));
  plan.result = plan_normalization(node, operands, results[0]);
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
  plan.tail = tail_of(node);
  std::vector<View> sums{operands[0], operands[1]};
  if (plan.tail.adds) {
    sums.insert(sums.end(), operands.begin() + 5, operands.end());
    sums.push_back(results[3]);
  }
  const View views[] = {plan.tail.adds ? results[3] : operands[0], operands[1], results[0]};
  plan.sums = plan_channels(node, sums);
  plan.result = plan_channels(node, views);
  if (plan.is_recomputed()) plan.bias = per_channel(node, operands[5]);
  if (plan.tail.has_slope) {
    set_slope(plan.tail, node, operands[6]);
    plan.dslope = per_channel(node, results[3]);
  }
  for (std::size_t i = 0; i < 3; ++i) plan.operands[i] = per_channel(node, operands[i + 2]);
  for (std::size_t i = 0; i < 2; ++i) plan.results[i] = per_channel(node, results[i + 1]);
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
