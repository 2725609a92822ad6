#include "training/augment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "ir/error.h"
#include "training/colors.h"
#include "training/tensor_jitter.h"

namespace facet {
namespace {

constexpr int kTries = 10;
constexpr double kEraseAspect = 0.3;

int to_pixels(double length) { return static_cast<int>(std::nearbyint(length)); }

/// A window of a random part of the area and a random aspect ratio (width / height), of no place.
Window random_size(int width, int height, std::pair<double, double> part,
                   std::pair<double, double> aspect, Random& random) {
  const double area = static_cast<double>(width) * height * random.uniform(part.first, part.second);
  const double ratio =
      std::exp(random.uniform(portable_log(aspect.first), portable_log(aspect.second)));
  return {0, 0, to_pixels(std::sqrt(area * ratio)), to_pixels(std::sqrt(area / ratio))};
}

void place(Window& window, int width, int height, Random& random) {
  window.top = static_cast<int>(random.integer(height - window.height + 1));
  window.left = static_cast<int>(random.integer(width - window.width + 1));
}

/// The window of `settings`' size in the picture with `padding` black pixels around it.
Image padded_window(const Image& image, const Preprocess& settings, int padding, Random& random) {
  Window window = {0, 0, settings.width, settings.height};
  const int width = image.width + 2 * padding;
  const int height = image.height + 2 * padding;
  if (window.width > width || window.height > height) {
    throw failure(
        fmt::format("a random crop of {} x {} does not fit a picture of {} x {} with {} "
                    "pixels around it; raise resize or crop_padding",
                    window.width, window.height, image.width, image.height, padding));
  }
  place(window, width, height, random);
  Image result = make_image(window.width, window.height);
  const int left = std::max(window.left - padding, 0);
  const int right = std::min(window.left - padding + window.width, image.width);
  for (int y = 0; y < window.height && left < right; ++y) {
    const int source = y + window.top - padding;
    if (source < 0 || source >= image.height) continue;
    const auto at = [](const Image& picture, int row, int column) {
      return (static_cast<std::ptrdiff_t>(row) * picture.width + column) * Image::channels;
    };
    std::copy(image.pixels.begin() + at(image, source, left),
              image.pixels.begin() + at(image, source, right),
              result.pixels.begin() + at(result, y, left + padding - window.left));
  }
  return result;
}

/// Whether `fit_image` only copies a picture of the size of `settings`.
bool keeps_own_size(const Preprocess& settings) {
  return settings.fit == Preprocess::Fit::stretch ||
         settings.shorter_side == std::min(settings.width, settings.height) ||
         (settings.shorter_side == 0 && settings.width == settings.height);
}

bool fits_already(const Image& image, const Preprocess& settings) {
  return image.width == settings.width && image.height == settings.height &&
         keeps_own_size(settings);
}

Image cut(const Image& image, const Preprocess& settings, const Augmentation& augmentation,
          Random& random) {
  if (augmentation.crop == Crop::none) return fit_image(image, settings);
  check_image(image);
  if (augmentation.crop == Crop::random) {
    const int shorter = settings.shorter_side != 0 ? settings.shorter_side
                                                   : std::max(settings.width, settings.height);
    return padded_window(resize_shorter_side(image, shorter, settings.filter), settings,
                         augmentation.crop_padding, random);
  }
  const Window window = resized_crop_window(image.width, image.height, augmentation, random);
  return resize(crop_image(image, window.left, window.top, window.width, window.height),
                settings.width, settings.height, settings.filter);
}

double factor_of(double strength, Random& random) {
  return random.uniform(std::max(0.0, 1 - strength), 1 + strength);
}

void jitter(Image& image, const Augmentation& augmentation, Random& random) {
  for (const std::int64_t change : permutation(4, Random(random.bits()))) {
    if (change == 0 && augmentation.brightness > 0) {
      adjust_brightness(image, factor_of(augmentation.brightness, random));
    } else if (change == 1 && augmentation.contrast > 0) {
      adjust_contrast(image, factor_of(augmentation.contrast, random));
    } else if (change == 2 && augmentation.saturation > 0) {
      adjust_saturation(image, factor_of(augmentation.saturation, random));
    } else if (change == 3 && augmentation.hue > 0) {
      rotate_hue(image, random.uniform(-augmentation.hue, augmentation.hue));
    }
  }
}

void erase_window(std::span<float> planes, const Preprocess& settings,
                  const Augmentation& augmentation, Random& random) {
  for (int i = 0; i < kTries; ++i) {
    Window window = random_size(settings.width, settings.height,
                                {augmentation.erase_min, augmentation.erase_max},
                                {kEraseAspect, 1 / kEraseAspect}, random);
    if (window.width >= settings.width || window.height >= settings.height) continue;
    place(window, settings.width, settings.height, random);
    for (int row = 0; row < Image::channels * window.height; ++row) {
      const int y = row / window.height * settings.height + window.top + row % window.height;
      std::fill_n(planes.begin() + static_cast<std::ptrdiff_t>(y) * settings.width + window.left,
                  window.width, 0.0F);
    }
    return;
  }
}

bool changes_values(const Augmentation& a) {
  return a.tensor_brightness > 0 || a.tensor_contrast > 0 || a.tensor_saturation > 0 ||
         a.lighting > 0;
}

/// Normalised after changes of the values x / 255.
void values_into(const Image& picture, const Preprocess& settings, const Augmentation& augmentation,
                 Random& random, std::span<float> to) {
  Preprocess plain = settings;
  plain.bgr = false;
  plain.mean = {0, 0, 0};
  plain.std = {1, 1, 1};
  normalize_into(picture, plain, to);
  jitter_values(to, augmentation, random);
  if (augmentation.lighting > 0) light_values(to, augmentation.lighting, random);
  const std::size_t pixels = to.size() / 3;
  if (settings.bgr)
    std::swap_ranges(to.begin(), to.begin() + static_cast<std::ptrdiff_t>(pixels),
                     to.begin() + static_cast<std::ptrdiff_t>(2 * pixels));
  for (std::size_t c = 0; c < 3; ++c) {
    for (float& x : to.subspan(c * pixels, pixels)) x = (x - settings.mean[c]) / settings.std[c];
  }
}

void check_range(std::string_view field, double value, double least, double most) {
  if (value >= least && value <= most) return;
  throw usage_error(
      fmt::format("augmentation.{} is {}; it must be from {} to {}", field, value, least, most));
}

void check_order(std::string_view low, double low_value, std::string_view high, double high_value) {
  if (low_value <= high_value) return;
  throw usage_error(fmt::format("augmentation.{} ({}) is above augmentation.{} ({})", low,
                                low_value, high, high_value));
}

/// Mirrors and colours it.
void change(Image& picture, const Augmentation& augmentation, Random& random) {
  if (random.chance(augmentation.flip)) mirror(picture);
  if (random.chance(augmentation.jitter)) jitter(picture, augmentation, random);
  if (random.chance(augmentation.greyscale)) make_greyscale(picture);
  if (random.chance(augmentation.blur)) {
    blur(picture, random.uniform(augmentation.blur_sigma_min, augmentation.blur_sigma_max));
  }
}

/// What `augment_picture` makes, in the picture's own memory where it has the size.
void augment_in_place(Image& image, const Preprocess& settings, const Augmentation& augmentation,
                      Random& random) {
  check_image(image);
  if (augmentation.crop == Crop::none && fits_already(image, settings)) {
    change(image, augmentation, random);
  } else {
    image = augment_picture(image, settings, augmentation, random);
  }
}

}  // namespace

bool keeps_bytes(const Augmentation& augmentation) {
  return !changes_values(augmentation) && augmentation.erase == 0 && augmentation.cut_mix == 0;
}

bool only_mirrors(const Preprocess& settings, const Augmentation& a) {
  const bool jitters = a.brightness > 0 || a.contrast > 0 || a.saturation > 0 || a.hue > 0;
  return keeps_bytes(a) && a.crop == Crop::none && keeps_own_size(settings) &&
         !(a.jitter > 0 && jitters) && a.greyscale == 0 && a.blur == 0;
}

void mirror_by_chance(std::span<std::uint8_t> pixels, const Preprocess& settings,
                      const Augmentation& augmentation, Random random) {
  if (random.chance(augmentation.flip)) mirror(pixels, settings.width);
}

Window resized_crop_window(int width, int height, const Augmentation& augmentation,
                           Random& random) {
  const std::pair aspect(augmentation.aspect_min, augmentation.aspect_max);
  for (int i = 0; i < kTries; ++i) {
    Window window =
        random_size(width, height, {augmentation.area_min, augmentation.area_max}, aspect, random);
    if (window.width < 1 || window.width > width || window.height < 1 || window.height > height) {
      continue;
    }
    place(window, width, height, random);
    return window;
  }
  Window window = {0, 0, width, height};
  const double ratio = static_cast<double>(width) / height;
  if (ratio < aspect.first) window.height = std::max(to_pixels(width / aspect.first), 1);
  if (ratio > aspect.second) window.width = std::max(to_pixels(height * aspect.second), 1);
  window.left = (width - window.width) / 2;
  window.top = (height - window.height) / 2;
  return window;
}

Image augment_picture(const Image& image, const Preprocess& settings,
                      const Augmentation& augmentation, Random& random) {
  Image picture = cut(image, settings, augmentation, random);
  change(picture, augmentation, random);
  return picture;
}

void finish_picture(const Image& picture, const Preprocess& settings,
                    const Augmentation& augmentation, Random random, std::span<float> to) {
  if (changes_values(augmentation)) {
    values_into(picture, settings, augmentation, random, to);
  } else {
    normalize_into(picture, settings, to);
  }
  if (random.chance(augmentation.erase)) erase_window(to, settings, augmentation, random);
}

void augment_into(const Image& image, const Preprocess& settings, const Augmentation& augmentation,
                  Random random, std::span<float> to) {
  const Image picture = augment_picture(image, settings, augmentation, random);
  finish_picture(picture, settings, augmentation, random, to);
}

void augment_away(Image& image, const Preprocess& settings, const Augmentation& augmentation,
                  Random random, std::span<float> to) {
  augment_in_place(image, settings, augmentation, random);
  finish_picture(image, settings, augmentation, random, to);
}

void augment_away(Image& image, const Preprocess& settings, const Augmentation& augmentation,
                  Random random, std::span<std::uint8_t> to) {
  augment_in_place(image, settings, augmentation, random);
  if (to.size() != image.pixels.size() || !keeps_bytes(augmentation)) {
    throw usage_error(fmt::format("{} bytes do not hold an augmented picture of {} x {}", to.size(),
                                  image.width, image.height));
  }
  std::ranges::copy(image.pixels, to.begin());
}

void check_augmentation(const Augmentation& a) {
  check_range("crop_padding", a.crop_padding, 0, 1 << 14);
  check_range("area_min", a.area_min, 1e-6, 1);
  check_range("area_max", a.area_max, 1e-6, 1);
  check_range("aspect_min", a.aspect_min, 1e-3, 1e3);
  check_range("aspect_max", a.aspect_max, 1e-3, 1e3);
  check_range("flip", a.flip, 0, 1);
  check_range("jitter", a.jitter, 0, 1);
  check_range("brightness", a.brightness, 0, 10);
  check_range("contrast", a.contrast, 0, 10);
  check_range("saturation", a.saturation, 0, 10);
  check_range("hue", a.hue, 0, 0.5);
  check_range("greyscale", a.greyscale, 0, 1);
  check_range("blur", a.blur, 0, 1);
  check_range("blur_sigma_min", a.blur_sigma_min, 0, 100);
  check_range("blur_sigma_max", a.blur_sigma_max, 0, 100);
  check_range("tensor_brightness", a.tensor_brightness, 0, 10);
  check_range("tensor_contrast", a.tensor_contrast, 0, 10);
  check_range("tensor_saturation", a.tensor_saturation, 0, 10);
  check_range("lighting", a.lighting, 0, 10);
  check_range("erase", a.erase, 0, 1);
  check_range("erase_min", a.erase_min, 0, 1);
  check_range("erase_max", a.erase_max, 0, 1);
  check_range("cut_mix", a.cut_mix, 0, 1);
  check_range("cut_mix_beta", a.cut_mix_beta, 1e-3, 1e3);
  check_order("area_min", a.area_min, "area_max", a.area_max);
  check_order("aspect_min", a.aspect_min, "aspect_max", a.aspect_max);
  check_order("blur_sigma_min", a.blur_sigma_min, "blur_sigma_max", a.blur_sigma_max);
  check_order("erase_min", a.erase_min, "erase_max", a.erase_max);
}

}  // namespace facet
