#pragma once

#include <cstdint>

namespace facet {

/// A convolution as the cost model sees it. Extents are those of one image.
struct BranchShape {
  std::int64_t in_channels = 0;
  std::int64_t in_pixels = 0;
  std::int64_t out_channels = 0;
  std::int64_t out_pixels = 0;
  std::int64_t taps = 1;
};

/// Nominal time of a convolution in multiply-adds of one vector (16 channels): arithmetic on whole
/// vectors, the weights and the input read from the caches (the input once for each block of
/// outputs when the weights are too many to stay there), the start of a step. It compares forms of
/// the same work; it predicts no seconds.
double branch_cost(const BranchShape& shape);

}  // namespace facet
