#pragma once

#include <cstdint>
#include <vector>

#include "training/data/dataset.h"

namespace facet {

struct SamplerOptions {
  std::uint64_t seed = 1;
  bool shuffle = true;  ///< another order in every epoch; false: by number
  /// Above 0: an epoch goes over the classes again and again, in a random order each time, and
  /// takes so many pictures of each, different ones if the class has enough. It is as long as the
  /// data set, rounded down to whole rounds, but one round at least. Classes without pictures are
  /// left out.
  std::int64_t per_class = 0;
};

/// Which pictures an epoch has, and in what order. Immutable.
class Sampler {
 public:
  /// Throws Error(usage) for classes in order of their numbers or a negative number of pictures.
  Sampler(const Dataset& dataset, const SamplerOptions& options);

  /// Pictures of an epoch.
  std::int64_t size() const { return size_; }
  /// Their numbers, a function of seed and epoch.
  std::vector<std::int64_t> order(std::int64_t epoch) const;

 private:
  SamplerOptions options_;
  std::vector<std::vector<std::int64_t>> classes_;  ///< pictures of each; with per_class only
  std::int64_t size_ = 0;
};

}  // namespace facet
