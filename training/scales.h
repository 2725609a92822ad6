#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "training/augment.h"

namespace facet {

/// The resolutions in which every training picture comes, beside its own: for networks that are to
/// know a face from few pixels (Lu et al., "Deep Coupled ResNet", 2018). A picture of size s is
/// made s x s, whatever its aspect, and brought to the network's size again.
struct Scales {
  std::vector<std::int64_t> sizes = {};  ///< pixels a side; empty: only the full resolution
  Filter filter = Filter::lanczos;       ///< of making it small
  /// false: every size is augmented for itself, as published code does. Then pictures of one item
  /// do not show the same window, and crops are cut out of what is small already. true: the picture
  /// is augmented once, in full resolution, and the result made small.
  bool aligned = false;

  /// The full resolution and the sizes.
  std::size_t count() const { return sizes.size() + 1; }
};

/// Throws Error(usage) that names the field for sizes that are not positive or come twice.
void check_scales(const Scales& scales);

/// The picture in every scale, augmented and normalised, into places of batches: `to` has one for
/// each of `scales.count()`, the full resolution first, of [3, height, width] of `settings`. The
/// full resolution gets what `augment_into` makes of the same draws. Throws as `augment_into`.
void augment_scales_into(const Image& image, const Preprocess& settings,
                         const Augmentation& augmentation, const Scales& scales, Random random,
                         std::span<const std::span<float>> to);

}  // namespace facet
