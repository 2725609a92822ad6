#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ir/error.h"
#include "tests/training/trainer_fixture.h"
#include "training/evaluation/protocols.h"

namespace facet::test {

/// Three persons, whose pictures are ColouredPictures' classes; some cannot be read.
class ColouredFaces : public ColouredPictures {
 public:
  explicit ColouredFaces(std::int64_t count, std::vector<std::int64_t> broken = {},
                         std::uint64_t fingerprint = 5)
      : ColouredPictures(count, fingerprint), broken_(std::move(broken)) {}
  Image load(std::int64_t item) const override {
    for (const std::int64_t bad : broken_) {
      if (bad == item) throw failure(name(item) + ": cannot be read");
    }
    if (on_load) on_load(item);
    return ColouredPictures::load(item);
  }
  std::function<void(std::int64_t)> on_load;

 private:
  std::vector<std::int64_t> broken_;
};

/// Pair k is of pictures 2 k and 2 k + 1 (persons are numbers modulo 3), or of 2 k and 2 k + 3.
inline PairSet coloured_pairs(std::int64_t pairs, std::vector<std::int64_t> broken = {}) {
  PairSet set;
  set.name = "coloured";
  for (std::int64_t k = 0; k < pairs; ++k) {
    const bool same = k % 2 == 0;
    set.pairs.push_back({2 * k, 2 * k + (same ? 3 : 1), same});
  }
  set.pictures = std::make_unique<ColouredFaces>(2 * pairs + 3, std::move(broken));
  return set;
}

/// A picture of each person in the gallery, two groups of probes.
inline IdentificationSet coloured_gallery(std::vector<std::int64_t> broken = {}) {
  IdentificationSet set;
  set.name = "gallery";
  set.gallery = {0, 1, 2};
  set.groups = {{"near", {3, 4, 5, 6}}, {"far (1 m)", {7, 8}}};
  set.pictures = std::make_unique<ColouredFaces>(9, std::move(broken));
  return set;
}

inline ProtocolSets coloured_sets() {
  ProtocolSets sets;
  sets.pairs.push_back(coloured_pairs(20));
  sets.identification.push_back(coloured_gallery());
  return sets;
}

}  // namespace facet::test
