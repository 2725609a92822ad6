#include "backends/cpu/kernels/batch_norm.h"

// The last pass of a normalisation over memory: behind the statistics in batch_norm_train, and by
// itself in batch_norm_apply, which gives the same bits.

namespace facet::cpu {
namespace {

struct BatchNormApplyPlan {
  Normalization result;
  PerChannel operands[4];

  enum Array { kMean, kFactor, kBias, kScale, kSlope, kArrays };

  std::string implementation() const {
    return "batch_norm_apply" + result.tail.name() + ":" + train_loops().name;
  }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(kArrays * row()) * sizeof(float);
  }

  void run(const Addresses& addresses) const {
    auto* const arrays = reinterpret_cast<float*>(addresses.scratch);
    const auto array = [&](Array which) { return arrays + which * row(); };
    const std::int64_t channels = result.plan.channels;
    constexpr Array kPlaces[] = {kScale, kBias, kMean, kFactor};
    for (std::size_t i = 0; i < 4; ++i) {
      operands[i].load(addresses.operands[i + 1], array(kPlaces[i]), channels);
    }
    for (std::int64_t c = 0; c < channels; ++c) array(kFactor)[c] *= array(kScale)[c];
    result.tail.load(result.tail.has_slope ? addresses.operands[5] : nullptr, array(kSlope),
                     channels);
    result.run(normalization_views(result, addresses),
               {array(kMean), array(kFactor), array(kBias), array(kSlope)});
  }

 private:
  std::int64_t row() const { return padded_channels(result.plan.channels); }
};

}  // namespace

void Normalization::run(std::span<std::byte* const> views, const Factors& factors) const {
  const auto normalize = [&](ChannelBlock& b, ChannelArguments& arguments) {
    const auto type = static_cast<int>(b.type);
    if (tail.empty()) {
      return train_loops().normalize[type](b.reads[0], b.writes, b.rows, b.cols, arguments.at(b, 0),
                                           arguments.at(b, 1), arguments.at(b, 2));
    }
    train_loops().normalize_tail[type](b.reads[0], tail.adds ? b.reads[1] : Rows{}, b.writes,
                                       b.rows, b.cols, arguments.at(b, 0), arguments.at(b, 1),
                                       arguments.at(b, 2), arguments.at(b, 3));
  };
  parallel_for(plan.parts, plan.elements(), [&](std::int64_t begin, std::int64_t end) {
    ChannelWalk walk(plan, /*written=*/true);
    ChannelArguments arguments(plan, {factors.mean, factors.factor, factors.bias, factors.slope});
    for (std::int64_t part = begin; part < end; ++part) {
      walk.run(part, views, [&](ChannelBlock& b) { normalize(b, arguments); });
    }
  });
}

Normalization plan_normalization(const Node& node, std::span<const View> operands, const View& y) {
  Normalization made;
  made.tail = tail_of(node);
  std::vector<View> views{operands[0]};
  if (made.tail.adds) views.push_back(operands[5]);
  views.push_back(y);
  if (made.tail.has_slope) set_slope(made.tail, node, operands[5]);
  made.plan = plan_channels(node, views);
  return made;
}

std::vector<std::byte*> normalization_views(const Normalization& plan, const Addresses& addresses) {
  std::vector<std::byte*> views{addresses.operands[0]};
  if (plan.tail.adds) views.push_back(addresses.operands[5]);
  views.push_back(addresses.results[0]);
  return views;
}

std::unique_ptr<Kernel> lower_batch_norm_apply(const Node& node, std::span<const View> operands,
                                               std::span<const View> results) {
  check_unblocked(node, operands, results);
  BatchNormApplyPlan plan;
  plan.result = plan_normalization(node, operands, results[0]);
  for (std::size_t i = 0; i < 4; ++i) plan.operands[i] = per_channel(node, operands[i + 1]);
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
