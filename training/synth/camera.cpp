#include "training/synth/camera.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "runtime/formats/resize.h"
#include "training/synth/noise.h"

namespace facet::synth {
namespace {

std::uint8_t to_byte(float value) {
  return static_cast<std::uint8_t>(std::clamp(value, 0.0F, 1.0F) * 255 + 0.5F);
}

/// Light to a screen's value, with shoulders instead of hard clipping above 0.8.
float tone(float light, const Camera& camera) {
  const float value = 0.5F + (root(std::max(light, 0.0F)) - 0.5F) * camera.contrast;
  if (value <= 0.8F) return value;
  const float over = value - 0.8F;
  return 0.8F + 0.2F * over / (over + 0.2F);
}

Image develop(const Canvas& scene, const Camera& camera) {
  Image image = make_image(scene.width(), scene.height());
  const Vec3 gain = camera.balance * camera.exposure;
  std::uint8_t* out = image.pixels.data();
  for (int y = 0; y < scene.height(); ++y) {
    for (int x = 0; x < scene.width(); ++x) {
      const Vec3 color = scene.at(x, y) * gain;
      const float grey = 0.3F * color.x + 0.59F * color.y + 0.11F * color.z;
      const Vec3 balanced = mix(Vec3{grey, grey, grey}, color, camera.saturation);
      *out++ = to_byte(tone(balanced.x, camera));
      *out++ = to_byte(tone(balanced.y, camera));
      *out++ = to_byte(tone(balanced.z, camera));
    }
  }
  return image;
}

/// The mean of `length` neighbours along rows or columns, edges repeated.
void smear(Image& image, int length, bool upright) {
  const Image before = image;
  const int extent = upright ? image.height : image.width;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < Image::channels; ++c) {
        int sum = length / 2;  // rounds
        for (int k = 0; k < length; ++k) {
          const int place = std::clamp((upright ? y : x) + k - length / 2, 0, extent - 1);
          const int row = upright ? place : y;
          const int column = upright ? x : place;
          sum += before.pixels[static_cast<std::size_t>((row * image.width + column) * 3 + c)];
        }
        image.pixels[static_cast<std::size_t>((y * image.width + x) * 3 + c)] =
            static_cast<std::uint8_t>(sum / length);
      }
    }
  }
}

/// Sums of four uniform numbers, the same for the three channels for the most part: sensors' noise
/// is grey after the camera's own smoothing.
void add_noise(Image& image, float deviation, std::uint32_t salt) {
  const float scale = deviation * 255 * 1.732F / 255;  // four bytes of variance 1/12 each
  std::uint8_t* pixel = image.pixels.data();
  const auto bell = [](std::uint32_t bits) {
    const auto sum = (bits & 255U) + (bits >> 8 & 255U) + (bits >> 16 & 255U) + (bits >> 24);
    return static_cast<float>(sum) - 510;
  };
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x, pixel += 3) {
      const float grey = bell(grid_bits(salt ^ 20U, x, y));
      const float tinge = 0.6F * bell(grid_bits(salt ^ 21U, x, y));
      const float shares[] = {0.8F * grey + tinge, grey, 0.8F * grey - tinge};
      for (int c = 0; c < 3; ++c) {
        const float value = static_cast<float>(pixel[c]) + scale * shares[c];
        pixel[c] = static_cast<std::uint8_t>(std::clamp(value + 0.5F, 0.0F, 255.0F));
      }
    }
  }
}

// The cosine transform's matrix: row k is c_k cos((2 n + 1) k pi / 16).
constexpr float kA = 0.35355339F;
constexpr float kC1 = 0.49039264F;
constexpr float kC2 = 0.46193977F;
constexpr float kC3 = 0.41573481F;
constexpr float kC5 = 0.27778512F;
constexpr float kC6 = 0.19134172F;
constexpr float kC7 = 0.09754516F;
constexpr float kCosines[8][8] = {{kA, kA, kA, kA, kA, kA, kA, kA},
                                  {kC1, kC3, kC5, kC7, -kC7, -kC5, -kC3, -kC1},
                                  {kC2, kC6, -kC6, -kC2, -kC2, -kC6, kC6, kC2},
                                  {kC3, -kC7, -kC1, -kC5, kC5, kC1, kC7, -kC3},
                                  {kA, -kA, -kA, kA, kA, -kA, -kA, kA},
                                  {kC5, -kC1, kC7, kC3, -kC3, -kC7, kC1, -kC5},
                                  {kC6, -kC2, kC2, -kC6, -kC6, kC2, -kC2, kC6},
                                  {kC7, -kC5, kC3, -kC1, kC1, -kC3, kC5, -kC7}};

using Block = float[8][8];

/// to = C from^T, or C^T from^T: twice is the transform of rows and columns, or its inverse.
void transform(const Block& from, Block& to, bool inverse) {
  for (int k = 0; k < 8; ++k) {
    for (int r = 0; r < 8; ++r) {
      float sum = 0;
      for (int n = 0; n < 8; ++n) sum += (inverse ? kCosines[n][k] : kCosines[k][n]) * from[r][n];
      to[k][r] = sum;
    }
  }
}

void quantise(Block& block, float step, bool chroma) {
  Block turned;
  Block coefficients;
  transform(block, turned, false);
  transform(turned, coefficients, false);
  for (int v = 0; v < 8; ++v) {
    for (int u = 0; u < 8; ++u) {
      const float size = step * (chroma ? 3.0F + 2.0F * static_cast<float>(u + v)
                                        : 2.0F + 1.2F * static_cast<float>(u + v));
      const float scaled = coefficients[v][u] / size;
      coefficients[v][u] = static_cast<float>(whole_below(scaled + 0.5F)) * size;
    }
  }
  transform(coefficients, turned, true);
  transform(turned, block, true);
}

}  // namespace

void compress(Image& image, int step) {
  check_image(image);
  for (int top = 0; top < image.height; top += 8) {
    for (int left = 0; left < image.width; left += 8) {
      Block planes[3];  // luma, blue and red differences
      const auto place = [&](int y, int x) {
        const int row = std::min(top + y, image.height - 1);
        const int column = std::min(left + x, image.width - 1);
        return static_cast<std::size_t>((row * image.width + column) * 3);
      };
      for (int y = 0; y < 8; ++y) {
        for (int x = 0; x < 8; ++x) {
          const std::uint8_t* p = &image.pixels[place(y, x)];
          const float luma = 0.299F * static_cast<float>(p[0]) + 0.587F * static_cast<float>(p[1]) +
                             0.114F * static_cast<float>(p[2]);
          planes[0][y][x] = luma - 128;
          planes[1][y][x] = 0.564F * (static_cast<float>(p[2]) - luma);
          planes[2][y][x] = 0.713F * (static_cast<float>(p[0]) - luma);
        }
      }
      for (int c = 0; c < 3; ++c) quantise(planes[c], static_cast<float>(step), c > 0);
      for (int y = 0; y < 8 && top + y < image.height; ++y) {
        for (int x = 0; x < 8 && left + x < image.width; ++x) {
          std::uint8_t* p = &image.pixels[place(y, x)];
          const float luma = planes[0][y][x] + 128;
          const float blue = planes[1][y][x];
          const float red = planes[2][y][x];
          p[0] = to_byte((luma + 1.403F * red) * (1 / 255.0F));
          p[1] = to_byte((luma - 0.344F * blue - 0.714F * red) * (1 / 255.0F));
          p[2] = to_byte((luma + 1.773F * blue) * (1 / 255.0F));
        }
      }
    }
  }
}

Image expose(const Canvas& scene, const Camera& camera, std::uint32_t salt, int size) {
  Image image = develop(scene, camera);
  if (camera.motion > 0) {
    const float length = camera.motion * static_cast<float>(image.width) / 112;
    smear(image, std::max(static_cast<int>(length), 1), camera.motion_upright);
  }
  const int resolution = std::max(camera.resolution * size / 112, 4);
  if (image.width != resolution) image = resize(image, resolution, resolution, Filter::bilinear);
  add_noise(image, camera.noise, salt);
  if (camera.quality > 0) compress(image, camera.quality);
  if (resolution == size) return image;
  return resize(image, size, size, camera.soft ? Filter::bicubic : Filter::bilinear);
}

}  // namespace facet::synth
