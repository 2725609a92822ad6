#include "training/tensor_jitter.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace facet {
namespace {

constexpr std::array<float, 3> kGrey = {0.299F, 0.587F, 0.114F};
constexpr std::array<double, 3> kEigenvalues = {0.2175, 0.0188, 0.0045};
constexpr std::array<std::array<double, 3>, 3> kEigenvectors = {
    {{-0.5675, 0.7192, 0.4009}, {-0.5808, -0.0045, -0.8140}, {-0.5836, -0.6948, 0.4203}}};

float grey_of(std::span<const float> planes, std::size_t pixel, std::size_t pixels) {
  return kGrey[0] * planes[pixel] + kGrey[1] * planes[pixels + pixel] +
         kGrey[2] * planes[2 * pixels + pixel];
}

void move_to(std::span<float> values, float reference, float part) {
  for (float& x : values) x += part * (reference - x);
}

/// To the mean grey of the picture.
void change_contrast(std::span<float> planes, float part) {
  const std::size_t pixels = planes.size() / 3;
  double sum = 0;
  for (std::size_t i = 0; i < pixels; ++i) sum += grey_of(planes, i, pixels);
  move_to(planes, static_cast<float>(sum / static_cast<double>(pixels)), part);
}

/// To the grey of each pixel.
void change_saturation(std::span<float> planes, float part) {
  const std::size_t pixels = planes.size() / 3;
  for (std::size_t i = 0; i < pixels; ++i) {
    const float grey = grey_of(planes, i, pixels);
    for (std::size_t c = 0; c < 3; ++c) {
      float& x = planes[c * pixels + i];
      x += part * (grey - x);
    }
  }
}

}  // namespace

void jitter_values(std::span<float> planes, const Augmentation& augmentation, Random& random) {
  const std::array<double, 3> strengths = {
      augmentation.tensor_brightness, augmentation.tensor_contrast, augmentation.tensor_saturation};
  for (const std::int64_t change : permutation(3, Random(random.bits()))) {
    const double strength = strengths[static_cast<std::size_t>(change)];
    if (strength == 0) continue;
    const auto part = static_cast<float>(random.uniform(-strength, strength));
    if (change == 0) move_to(planes, 0, part);
    if (change == 1) change_contrast(planes, part);
    if (change == 2) change_saturation(planes, part);
  }
}

void light_values(std::span<float> planes, double deviation, Random& random) {
  std::array<double, 3> amounts = {};
  for (std::size_t k = 0; k < 3; ++k) amounts[k] = deviation * random.normal() * kEigenvalues[k];
  const std::size_t pixels = planes.size() / 3;
  for (std::size_t c = 0; c < 3; ++c) {
    double added = 0;
    for (std::size_t k = 0; k < 3; ++k) added += kEigenvectors[c][k] * amounts[k];
    for (float& x : planes.subspan(c * pixels, pixels)) x += static_cast<float>(added);
  }
}

}  // namespace facet
