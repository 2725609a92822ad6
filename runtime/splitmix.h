#pragma once

#include <cstdint>

namespace facet {

/// Draw `i` of the SplitMix64 sequence that starts at `start`: 64 random bits by position, the same
/// on every machine (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// 2014).
constexpr std::uint64_t splitmix64(std::uint64_t start, std::uint64_t i) {
  std::uint64_t z = start + (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace facet
