#include "training/colors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

namespace facet {
namespace {

int luma(const std::uint8_t* pixel) {
  return (19595 * pixel[0] + 38470 * pixel[1] + 7471 * pixel[2] + 32768) >> 16;
}

std::uint8_t cut_off(double value) {
  return static_cast<std::uint8_t>(std::clamp(value, 0.0, 255.0));
}

std::uint8_t rounded(double value) { return cut_off(value + 0.5); }

/// from + (x - from) * factor of one sample.
std::uint8_t blend(int from, std::uint8_t x, double factor) {
  return cut_off(from + factor * (x - from));
}

/// A whole number modulo six, whatever its sign, and its fraction.
struct Sector {
  int number;
  double fraction;
};

Sector sector_of(double sixths) {
  const double whole = std::floor(sixths);
  return {static_cast<int>(whole - 6 * std::floor(whole / 6)), sixths - whole};
}

void turn_pixel(std::uint8_t* pixel, double turn) {
  const double red = pixel[0];
  const double green = pixel[1];
  const double blue = pixel[2];
  const double most = std::max({red, green, blue});
  const double range = most - std::min({red, green, blue});
  if (range == 0) return;
  double hue = 4 + (red - green) / range;
  if (most == red) {
    hue = (green - blue) / range;
  } else if (most == green) {
    hue = 2 + (blue - red) / range;
  }
  const auto [sector, fraction] = sector_of(hue + 6 * turn);
  const std::uint8_t high = rounded(most);
  const std::uint8_t low = rounded(most - range);
  const std::uint8_t falling = rounded(most - range * fraction);
  const std::uint8_t rising = rounded(most - range * (1 - fraction));
  const std::array<std::array<std::uint8_t, 3>, 6> colors = {{{high, rising, low},
                                                              {falling, high, low},
                                                              {low, high, rising},
                                                              {low, falling, high},
                                                              {rising, low, high},
                                                              {high, low, falling}}};
  std::copy_n(colors[static_cast<std::size_t>(sector)].begin(), 3, pixel);
}

std::vector<float> gaussian(double sigma) {
  const int radius = static_cast<int>(std::ceil(3 * sigma));
  std::vector<float> weights;
  double sum = 0;
  for (int i = -radius; i <= radius; ++i) sum += std::exp(-0.5 * i * i / (sigma * sigma));
  for (int i = -radius; i <= radius; ++i) {
    weights.push_back(static_cast<float>(std::exp(-0.5 * i * i / (sigma * sigma)) / sum));
  }
  return weights;
}

/// The weighted sums along `count` samples that are `stride` apart.
void filter_line(const float* from, float* to, int count, std::size_t stride,
                 const std::vector<float>& weights) {
  const int radius = static_cast<int>(weights.size() / 2);
  for (int i = 0; i < count; ++i) {
    float sum = 0;
    for (int k = -radius; k <= radius; ++k) {
      const int source = std::clamp(i + k, 0, count - 1);
      sum += weights[static_cast<std::size_t>(k + radius)] *
             from[static_cast<std::size_t>(source) * stride];
    }
    to[static_cast<std::size_t>(i) * stride] = sum;
  }
}

/// Pixels from the last to the first.
void mirror_row(std::span<std::uint8_t> row) {
  for (auto left = row.begin(), right = row.end(); right - left > 3; left += 3) {
    right -= 3;
    std::swap_ranges(left, left + 3, right);
  }
}

#if defined(__x86_64__)
/// The same of both ends of a row, five pixels at a time, a step that compilers do not find by
/// themselves. Returns what is left in the middle.
__attribute__((target("ssse3"))) std::span<std::uint8_t> mirror_ends(std::span<std::uint8_t> row) {
  using Bytes [[gnu::vector_size(16)]] = std::uint8_t;
  constexpr std::size_t kStep = 15;
  // Each load takes a byte of the middle along.
  while (row.size() >= 2 * kStep + 2) {
    Bytes left;
    Bytes right;
    std::uint8_t* const begin = row.data();
    std::uint8_t* const end = begin + row.size();
    std::memcpy(&left, begin, sizeof left);
    std::memcpy(&right, end - sizeof right, sizeof right);
    left =
        __builtin_shufflevector(left, left, 12, 13, 14, 9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2, 15);
    right =
        __builtin_shufflevector(right, right, 13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, 0);
    std::memcpy(begin, &right, kStep);
    std::memcpy(end - kStep, &left, kStep);
    row = row.subspan(kStep, row.size() - 2 * kStep);
  }
  return row;
}
#endif

}  // namespace

void adjust_brightness(Image& image, double factor) {
  for (std::uint8_t& x : image.pixels) x = blend(0, x, factor);
}

void adjust_contrast(Image& image, double factor) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) sum += luma(image.pixels.data() + i);
  const double count = static_cast<double>(image.pixels.size()) / 3;
  const int mean = static_cast<int>(static_cast<double>(sum) / count + 0.5);
  for (std::uint8_t& x : image.pixels) x = blend(mean, x, factor);
}

void adjust_saturation(Image& image, double factor) {
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    std::uint8_t* pixel = image.pixels.data() + i;
    const int grey = luma(pixel);
    for (int channel = 0; channel < 3; ++channel)
      pixel[channel] = blend(grey, pixel[channel], factor);
  }
}

void rotate_hue(Image& image, double turn) {
  for (std::size_t i = 0; i < image.pixels.size(); i += 3)
    turn_pixel(image.pixels.data() + i, turn);
}

void make_greyscale(Image& image) {
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    std::uint8_t* pixel = image.pixels.data() + i;
    std::fill_n(pixel, 3, static_cast<std::uint8_t>(luma(pixel)));
  }
}

void blur(Image& image, double sigma) {
  if (!(sigma > 0)) return;
  const std::vector<float> weights = gaussian(sigma);
  const std::vector<float> before(image.pixels.begin(), image.pixels.end());
  std::vector<float> rows(before.size());
  std::vector<float> both(before.size());
  const std::size_t row = static_cast<std::size_t>(image.width) * 3;
  for (int y = 0; y < image.height; ++y) {
    for (std::size_t channel = 0; channel < 3; ++channel) {
      const std::size_t start = static_cast<std::size_t>(y) * row + channel;
      filter_line(before.data() + start, rows.data() + start, image.width, 3, weights);
    }
  }
  for (std::size_t x = 0; x < row; ++x) {
    filter_line(rows.data() + x, both.data() + x, image.height, row, weights);
  }
  for (std::size_t i = 0; i < both.size(); ++i) image.pixels[i] = rounded(both[i]);
}

void mirror(Image& image) { mirror(image.pixels, image.width); }

void mirror(std::span<std::uint8_t> pixels, int width) {
  const std::size_t row = static_cast<std::size_t>(width) * Image::channels;
  for (; !pixels.empty(); pixels = pixels.subspan(row)) {
    std::span<std::uint8_t> rest = pixels.first(row);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("ssse3")) rest = mirror_ends(rest);
#endif
    mirror_row(rest);
  }
}

}  // namespace facet
