#pragma once

#include <cstdint>

#include "training/synth/vector.h"

namespace facet::synth {

/// 32 random bits of a place on a grid: a cheap hash for textures, where Random would cost too
/// much.
inline std::uint32_t grid_bits(std::uint32_t salt, int x, int y) {
  std::uint32_t h = salt ^ (static_cast<std::uint32_t>(x) * 0x9E3779B1U);
  h ^= h >> 15;
  h = (h + static_cast<std::uint32_t>(y)) * 0x85EBCA77U;
  h ^= h >> 13;
  h *= 0xC2B2AE3DU;
  return h ^ (h >> 16);
}

/// The same as a number in [0, 1).
inline float grid_value(std::uint32_t salt, int x, int y) {
  return static_cast<float>(grid_bits(salt, x, y) >> 8) * 0x1p-24F;
}

/// The whole number below x, for |x| < 2^30.
inline int whole_below(float x) {
  const int truncated = static_cast<int>(x);
  return static_cast<float>(truncated) > x ? truncated - 1 : truncated;
}

/// Smooth noise in [0, 1) whose grid has a spacing of 1.
inline float smooth_noise(std::uint32_t salt, float x, float y) {
  const int left = whole_below(x);
  const int top = whole_below(y);
  const float u = smooth_step(0, 1, x - static_cast<float>(left));
  const float v = smooth_step(0, 1, y - static_cast<float>(top));
  const float above = mix(grid_value(salt, left, top), grid_value(salt, left + 1, top), u);
  const float below = mix(grid_value(salt, left, top + 1), grid_value(salt, left + 1, top + 1), u);
  return mix(above, below, v);
}

/// The same along a line.
inline float line_noise(std::uint32_t salt, float x) {
  const int left = whole_below(x);
  return mix(grid_value(salt, left, 0), grid_value(salt, left + 1, 0),
             smooth_step(0, 1, x - static_cast<float>(left)));
}

}  // namespace facet::synth
