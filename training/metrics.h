#pragma once

#include <cstdint>

#include "ir/host_tensor.h"

namespace facet {

/// How many rows of `logits` (float, [N, C]) have the class of `labels` (i64 [N]) among their `k`
/// largest values. Of equal values the one of the lower class counts as larger, so constant logits
/// are right once in C. A row whose label is outside [0, C) or whose logit of the label is NaN is
/// not right; NaNs count as the largest. Throws Error(usage) for other shapes and for k below 1.
std::int64_t top_k_correct(const HostTensor& logits, const HostTensor& labels, std::int64_t k);

/// A mean over batches of different sizes.
class RunningMean {
 public:
  /// `value` is the mean of `weight` items.
  void add(double value, double weight) {
    sum_ += value * weight;
    weight_ += weight;
  }
  /// NaN if nothing was added.
  double mean() const { return sum_ / weight_; }
  double weight() const { return weight_; }
  bool empty() const { return weight_ == 0; }
  void reset() { *this = {}; }

 private:
  double sum_ = 0;
  double weight_ = 0;
};

}  // namespace facet
