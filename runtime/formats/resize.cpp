#include "runtime/formats/resize.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "ir/error.h"

namespace facet {
namespace {

constexpr int kWeightBits = 22;
constexpr std::array<std::pair<std::string_view, Filter>, 3> kNames = {
    {{"bilinear", Filter::bilinear}, {"bicubic", Filter::bicubic}, {"lanczos", Filter::lanczos}}};

double support_of(Filter filter) {
  switch (filter) {
    case Filter::bilinear:
      return 1;
    case Filter::bicubic:
      return 2;
    case Filter::lanczos:
      return 3;
  }
  return 0;
}

double sinc(double x) {
  if (x == 0) return 1;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double kernel(Filter filter, double x) {
  if (filter == Filter::lanczos) return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  x = std::abs(x);
  if (filter == Filter::bilinear) return x < 1 ? 1 - x : 0;
  constexpr double a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/// For every output position the first input it reads and the weights of that and those after it.
struct Taps {
  struct Window {
    int first;
    int count;
  };
  std::vector<Window> windows;        // [out]
  std::vector<std::int32_t> weights;  // [out, stride], in units of 2^-22
  std::size_t stride = 0;
};

Taps make_taps(int in, int out, Filter filter) {
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double inverse = 1.0 / filter_scale;
  const double support = support_of(filter) * filter_scale;
  Taps taps;
  taps.stride = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  taps.weights.resize(taps.stride * static_cast<std::size_t>(out));
  std::vector<double> window(taps.stride);
  for (int o = 0; o < out; ++o) {
    const double centre = (o + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int count = std::min(static_cast<int>(centre + support + 0.5), in) - first;
    double sum = 0;
    for (int i = 0; i < count; ++i) {
      const double weight = kernel(filter, (i + first - centre + 0.5) * inverse);
      window[static_cast<std::size_t>(i)] = weight;
      sum += weight;
    }
    std::int32_t* weights = taps.weights.data() + static_cast<std::size_t>(o) * taps.stride;
    for (int i = 0; i < count; ++i) {
      const double weight = window[static_cast<std::size_t>(i)];
      weights[i] = static_cast<std::int32_t>(
          std::round((sum != 0 ? weight / sum : weight) * (1 << kWeightBits)));
    }
    taps.windows.push_back({first, count});
  }
  return taps;
}

std::uint8_t to_grey_level(std::int32_t sum) {
  return static_cast<std::uint8_t>(
      std::clamp((sum + (1 << (kWeightBits - 1))) >> kWeightBits, 0, 255));
}

Image resize_rows(const Image& image, int width, Filter filter) {
  const Taps taps = make_taps(image.width, width, filter);
  Image result = make_image(width, image.height);
  std::uint8_t* to = result.pixels.data();
  for (int y = 0; y < image.height; ++y) {
    const std::uint8_t* row = image.pixels.data() + static_cast<std::size_t>(y) *
                                                        static_cast<std::size_t>(image.width) * 3;
    const std::int32_t* weights = taps.weights.data();
    for (const auto [first, count] : taps.windows) {
      const std::uint8_t* from = row + static_cast<std::size_t>(first) * 3;
      std::int32_t red = 0;
      std::int32_t green = 0;
      std::int32_t blue = 0;
      for (int i = 0; i < count; ++i, from += 3) {
        red += from[0] * weights[i];
        green += from[1] * weights[i];
        blue += from[2] * weights[i];
      }
      *to++ = to_grey_level(red);
      *to++ = to_grey_level(green);
      *to++ = to_grey_level(blue);
      weights += taps.stride;
    }
  }
  return result;
}

Image resize_columns(const Image& image, int height, Filter filter) {
  const Taps taps = make_taps(image.height, height, filter);
  Image result = make_image(image.width, height);
  const std::size_t stride = static_cast<std::size_t>(image.width) * 3;
  std::vector<std::int32_t> sums(stride);
  std::uint8_t* to = result.pixels.data();
  const std::int32_t* weights = taps.weights.data();
  for (const auto [first, count] : taps.windows) {
    std::fill(sums.begin(), sums.end(), 0);
    const std::uint8_t* from = image.pixels.data() + static_cast<std::size_t>(first) * stride;
    for (int i = 0; i < count; ++i, from += stride) {
      const std::int32_t weight = weights[i];
      for (std::size_t x = 0; x < stride; ++x) sums[x] += from[x] * weight;
    }
    for (std::size_t x = 0; x < stride; ++x) *to++ = to_grey_level(sums[x]);
    weights += taps.stride;
  }
  return result;
}

}  // namespace

std::string_view to_string(Filter filter) { return kNames[static_cast<std::size_t>(filter)].first; }

Filter parse_filter(std::string_view name) {
  for (const auto& [known, filter] : kNames) {
    if (known == name) return filter;
  }
  throw usage_error(fmt::format("there is no filter '{}'; use bilinear, bicubic or lanczos", name));
}

Image resize(const Image& image, int width, int height, Filter filter) {
  check_image(image);
  check_image_size(width, height);
  if (width == image.width && height == image.height) return image;
  if (height == image.height) return resize_rows(image, width, filter);
  if (width == image.width) return resize_columns(image, height, filter);
  return resize_columns(resize_rows(image, width, filter), height, filter);
}

}  // namespace facet
