#pragma once

#include <cstdint>

namespace facet {

/// The mask of dropout_train: a hash of seed, step and the element's row-major index, so that every
/// backend, and the backward pass, draws the same one without storing it. The mixing function is
/// that of SplitMix64 (Steele, Lea, Flood 2014).
class DropoutMask {
 public:
  DropoutMask(std::uint64_t seed, std::uint64_t step, double rate)
      : base_(mix(mix(seed) + step)), threshold_(static_cast<std::uint64_t>(rate * kUnit)) {}

  /// Whether element `index` is kept: with probability 1 - rate, exact to 2^-24.
  bool keeps(std::uint64_t index) const { return (mix(base_ + index) >> 40) >= threshold_; }

 private:
  static constexpr double kUnit = 16777216;  // 2^24, of which there are as many hashes

  static constexpr std::uint64_t mix(std::uint64_t z) {
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  std::uint64_t base_;
  std::uint64_t threshold_;
};

}  // namespace facet
