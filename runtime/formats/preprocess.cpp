#include "runtime/formats/preprocess.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "ir/error.h"

namespace facet {
namespace {

void check_settings(const Preprocess& settings) {
  if (settings.width <= 0 || settings.height <= 0) {
    throw usage_error(
        fmt::format("an input of {} x {} pixels is not possible", settings.width, settings.height));
  }
  const int least = std::max(settings.width, settings.height);
  if (settings.fit == Preprocess::Fit::center_crop && settings.shorter_side != 0 &&
      settings.shorter_side < least) {
    throw usage_error(
        fmt::format("a shorter side of {} pixels does not cover a crop of {} x {}; "
                    "use at least {}",
                    settings.shorter_side, settings.width, settings.height, least));
  }
  for (std::size_t channel = 0; channel < 3; ++channel) {
    if (!std::isfinite(settings.mean[channel]) || !std::isfinite(settings.std[channel]) ||
        settings.std[channel] == 0) {
      throw usage_error(fmt::format("channel {} cannot be normalised with mean {} and std {}",
                                    channel, settings.mean[channel], settings.std[channel]));
    }
  }
}

/// Half of what is cut off, halves to even: 0.5 -> 0, 1.5 -> 2.
int crop_offset(int size, int crop) {
  return static_cast<int>(std::nearbyint((size - crop) / 2.0));
}

/// `shorter * longer_in / shorter_in`, rounded down, in 64 bits.
int scaled(int shorter, int longer_in, int shorter_in) {
  const auto longer = static_cast<std::int64_t>(shorter) * longer_in / shorter_in;
  check_image_size(longer, shorter);
  return static_cast<int>(longer);
}

/// By channel of the tensor and grey level.
using LevelValues = std::array<std::array<float, 256>, Image::channels>;

/// 256 levels: the division is done once for each, in float as the reference does.
LevelValues level_values(const Preprocess& settings) {
  LevelValues values{};
  for (std::size_t channel = 0; channel < Image::channels; ++channel) {
    for (std::size_t level = 0; level < 256; ++level) {
      values[channel][level] =
          (static_cast<float>(level) / 255.0F - settings.mean[channel]) / settings.std[channel];
    }
  }
  return values;
}

/// Pixels of R, G, B to three planes of the same number of elements.
void look_up(std::span<const std::uint8_t> pixels, const LevelValues& values, bool bgr, float* to) {
  const std::size_t plane = pixels.size() / Image::channels;
  const std::uint8_t* pixel = pixels.data();
  const std::size_t red = bgr ? 2 : 0;
  float* const second = to + plane;
  float* const third = second + plane;
  for (std::size_t i = 0; i < plane; ++i, pixel += Image::channels) {
    to[i] = values[0][pixel[red]];
    second[i] = values[1][pixel[1]];
    third[i] = values[2][pixel[2 - red]];
  }
}

}  // namespace

Image fit_image(const Image& image, const Preprocess& settings) {
  check_settings(settings);
  check_image(image);
  if (settings.fit == Preprocess::Fit::stretch) {
    return resize(image, settings.width, settings.height, settings.filter);
  }
  const int shorter = settings.shorter_side != 0 ? settings.shorter_side
                                                 : std::max(settings.width, settings.height);
  const Image resized = resize_shorter_side(image, shorter, settings.filter);
  return crop_image(resized, crop_offset(resized.width, settings.width),
                    crop_offset(resized.height, settings.height), settings.width, settings.height);
}

Image resize_shorter_side(const Image& image, int shorter, Filter filter) {
  check_image(image);
  const bool portrait = image.width <= image.height;
  const int width = portrait ? shorter : scaled(shorter, image.width, image.height);
  const int height = portrait ? scaled(shorter, image.height, image.width) : shorter;
  return resize(image, width, height, filter);
}

void preprocess_into(const Image& image, const Preprocess& settings, std::span<float> to) {
  normalize_into(fit_image(image, settings), settings, to);
}

void normalize_into(const Image& fitted, const Preprocess& settings, std::span<float> to) {
  check_settings(settings);
  if (to.size() != fitted.pixels.size()) {
    throw usage_error(fmt::format("{} elements do not hold an input of 3 x {} x {}", to.size(),
                                  fitted.height, fitted.width));
  }
  look_up(fitted.pixels, level_values(settings), settings.bgr, to.data());
}

void normalize_into(const HostTensor& pictures, const Preprocess& settings, HostTensor& to) {
  check_settings(settings);
  const std::vector<std::int64_t>& from = pictures.shape();
  if (pictures.dtype() != DType::u8 || from.size() != 4 || from[3] != Image::channels ||
      to.dtype() != DType::f32 ||
      to.shape() != std::vector<std::int64_t>{from[0], Image::channels, from[1], from[2]}) {
    throw usage_error(fmt::format("pictures {} [{}] do not become {} [{}]",
                                  to_string(pictures.dtype()), fmt::join(from, ", "),
                                  to_string(to.dtype()), fmt::join(to.shape(), ", ")));
  }
  const LevelValues values = level_values(settings);
  const std::int64_t size = from[1] * from[2] * Image::channels;
  const auto* pixels = reinterpret_cast<const std::uint8_t*>(pictures.data());
  auto* const planes = to.as_mutable<float>();
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < from[0]; ++i) {
    look_up({pixels + i * size, static_cast<std::size_t>(size)}, values, settings.bgr,
            planes + i * size);
  }
}

HostTensor preprocess(const Image& image, const Preprocess& settings) {
  check_settings(settings);
  HostTensor tensor(DType::f32, {1, Image::channels, settings.height, settings.width});
  preprocess_into(image, settings,
                  {tensor.as_mutable<float>(), static_cast<std::size_t>(tensor.element_count())});
  return tensor;
}

}  // namespace facet
