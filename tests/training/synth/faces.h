#pragma once

#include <cstdint>

#include "training/synth/render.h"

namespace facet::test {

/// FNV-1a of the pixels.
inline std::uint64_t pixel_hash(const Image& image) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const std::uint8_t value : image.pixels) hash = (hash ^ value) * 0x100000001B3U;
  return hash;
}

/// A person and a picture of the person, by numbers.
inline synth::FaceIdentity person(std::uint64_t number) {
  return synth::draw_identity(Random(7, 0, number));
}
inline synth::Capture snapshot(const synth::FaceIdentity& face, std::uint64_t number) {
  return synth::draw_snapshot(face, 1, Random(7, 1, number));
}

/// The mean difference of two pictures' values, of 255.
inline double difference(const Image& a, const Image& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) {
    sum += a.pixels[i] > b.pixels[i] ? a.pixels[i] - b.pixels[i] : b.pixels[i] - a.pixels[i];
  }
  return sum / static_cast<double>(a.pixels.size());
}

}  // namespace facet::test
