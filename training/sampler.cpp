#include "training/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "ir/error.h"
#include "training/random.h"

namespace facet {
namespace {

// The draws for an epoch's order are none of any picture.
constexpr std::uint64_t kOrderItem = std::numeric_limits<std::uint64_t>::max();

}  // namespace

Sampler::Sampler(const Dataset& dataset, const SamplerOptions& options)
    : options_(options), size_(dataset.size()) {
  if (options.per_class < 0) {
    throw usage_error(
        fmt::format("{} pictures of every class: give at least 1", options.per_class));
  }
  if (options.per_class == 0) return;
  if (!options.shuffle) throw usage_error("pictures by class come in a random order only");
  classes_.resize(static_cast<std::size_t>(dataset.class_count()));
  for (std::int64_t item = 0; item < dataset.size(); ++item) {
    classes_.at(static_cast<std::size_t>(dataset.label(item))).push_back(item);
  }
  std::erase_if(classes_, [](const auto& pictures) { return pictures.empty(); });
  const std::int64_t round = options.per_class * static_cast<std::int64_t>(classes_.size());
  size_ = std::max(size_ / round, std::int64_t{1}) * round;
}

std::vector<std::int64_t> Sampler::order(std::int64_t epoch) const {
  Random random(options_.seed, static_cast<std::uint64_t>(epoch), kOrderItem);
  if (options_.per_class == 0) {
    if (options_.shuffle) return permutation(size_, random);
    std::vector<std::int64_t> order(static_cast<std::size_t>(size_));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    return order;
  }
  std::vector<std::int64_t> order;
  order.reserve(static_cast<std::size_t>(size_));
  while (static_cast<std::int64_t>(order.size()) < size_) {
    const auto count = static_cast<std::int64_t>(classes_.size());
    for (const std::int64_t one : permutation(count, Random(random.bits()))) {
      const std::vector<std::int64_t>& pictures = classes_[static_cast<std::size_t>(one)];
      const auto available = static_cast<std::int64_t>(pictures.size());
      const std::vector<std::int64_t> drawn = permutation(available, Random(random.bits()));
      for (std::int64_t i = 0; i < options_.per_class; ++i) {
        const std::int64_t place = available < options_.per_class
                                       ? random.integer(available)
                                       : drawn[static_cast<std::size_t>(i)];
        order.push_back(pictures[static_cast<std::size_t>(place)]);
      }
    }
  }
  return order;
}

}  // namespace facet
