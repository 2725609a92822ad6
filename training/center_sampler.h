#pragma once

#include <cstdint>
#include <vector>

#include "ir/host_tensor.h"

namespace facet {

/// Chooses which class centres take part in a step of Partial FC (An et al., "Partial FC: Training
/// 10 Million Identities on a Single Machine", 2021; "Killing Two Birds with One Stone", 2022).
///
/// The classes of the batch always do. Of the others those with the largest of independent uniform
/// draws, so many that there are `sample` in all. A draw is 64 bits that depend on (seed, step,
/// class) alone: the same on every machine, for any number of threads and for a training that is
/// resumed. Two passes over the draws, which are made anew rather than kept, find the threshold:
/// O(classes) time, O(sample) memory. Safe from several threads.
class CenterSampler {
 public:
  /// Throws Error(usage) unless 1 <= sample <= classes.
  CenterSampler(std::int64_t classes, std::int64_t sample, std::uint64_t seed);

  /// Classes, ascending and each once, i64 [sample]. `labels` i64 [N] of all batches of the step;
  /// those outside [0, classes) do not count. Throws Error(usage) for more different labels than
  /// `sample`.
  HostTensor draw(std::int64_t step, const std::vector<HostTensor>& labels) const;

  std::int64_t classes() const { return classes_; }
  std::int64_t sample() const { return sample_; }

 private:
  std::int64_t classes_;
  std::int64_t sample_;
  std::uint64_t seed_;
};

/// The place of every label in `classes`, which ascend; -1 for one that is not there. i64 [N].
HostTensor places_of(const HostTensor& labels, const HostTensor& classes);

}  // namespace facet
