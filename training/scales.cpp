#include "training/scales.h"

#include <fmt/format.h>

#include <set>

#include "ir/error.h"

namespace facet {
namespace {

constexpr std::int64_t kLargest = 1 << 14;

Image small_of(const Image& image, std::int64_t size, Filter filter) {
  const int side = static_cast<int>(size);
  return resize(image, side, side, filter);
}

}  // namespace

void check_scales(const Scales& scales) {
  std::set<std::int64_t> seen;
  for (const std::int64_t size : scales.sizes) {
    if (size < 1 || size > kLargest) {
      throw usage_error(
          fmt::format("scales.sizes has {}; a size must be from 1 to {} pixels", size, kLargest));
    }
    if (!seen.insert(size).second)
      throw usage_error(fmt::format("scales.sizes has {} twice", size));
  }
}

void augment_scales_into(const Image& image, const Preprocess& settings,
                         const Augmentation& augmentation, const Scales& scales, Random random,
                         std::span<const std::span<float>> to) {
  if (to.size() != scales.count()) {
    throw usage_error(
        fmt::format("{} places for {} scales of a picture", to.size(), scales.count()));
  }
  if (scales.aligned) {
    const Image picture = augment_picture(image, settings, augmentation, random);
    finish_picture(picture, settings, augmentation, random, to[0]);
    for (std::size_t k = 1; k < to.size(); ++k) {
      const Image small = small_of(picture, scales.sizes[k - 1], scales.filter);
      finish_picture(resize(small, settings.width, settings.height, settings.filter), settings,
                     augmentation, random, to[k]);
    }
    return;
  }
  augment_into(image, settings, augmentation, random, to[0]);
  const std::uint64_t seed = random.bits();
  for (std::size_t k = 1; k < to.size(); ++k) {
    augment_into(small_of(image, scales.sizes[k - 1], scales.filter), settings, augmentation,
                 Random(seed, k), to[k]);
  }
}

}  // namespace facet
