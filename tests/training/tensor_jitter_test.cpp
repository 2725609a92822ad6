#include "training/tensor_jitter.h"

#include <gmock/gmock.h>

#include <cmath>

#include "tests/training/pictures.h"

namespace facet::test {
namespace {

using ::testing::Each;
using ::testing::FloatNear;

const std::vector<float> kPlanes = {0.1F, 0.9F, 0.4F, 0.3F, 0.2F, 0.8F};  // two pixels

std::vector<float> jittered(const Augmentation& augmentation, std::uint64_t seed) {
  std::vector<float> planes = kPlanes;
  Random random(seed);
  jitter_values(planes, augmentation, random);
  return planes;
}

double grey(const std::vector<float>& planes, std::size_t pixel) {
  return 0.299 * planes[pixel] + 0.587 * planes[2 + pixel] + 0.114 * planes[4 + pixel];
}

TEST(TensorJitter, EachChangeMovesTowardsItsReference) {
  const double mean = (grey(kPlanes, 0) + grey(kPlanes, 1)) / 2;
  double lowest = 1;
  double highest = -1;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const auto dark = jittered({.tensor_brightness = 0.4}, seed);
    const double part = 1 - dark[0] / kPlanes[0];
    lowest = std::min(lowest, part);
    highest = std::max(highest, part);
    const auto flat = jittered({.tensor_contrast = 0.4}, seed);
    const double moved = (flat[0] - kPlanes[0]) / (mean - kPlanes[0]);
    const auto pale = jittered({.tensor_saturation = 0.4}, seed);
    const double paled = (pale[1] - kPlanes[1]) / (grey(kPlanes, 1) - kPlanes[1]);
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_NEAR(dark[i], kPlanes[i] * (1 - part), 1e-6);
      EXPECT_NEAR(flat[i], kPlanes[i] + moved * (mean - kPlanes[i]), 1e-6);
      EXPECT_NEAR(pale[i], kPlanes[i] + paled * (grey(kPlanes, i % 2) - kPlanes[i]), 1e-6);
    }
  }
  EXPECT_LT(lowest, -0.38);
  EXPECT_GE(lowest, -0.4001);
  EXPECT_GT(highest, 0.38);
  EXPECT_LE(highest, 0.4001);
}

TEST(TensorJitter, ComesInEveryOrderAndIsNotClamped) {
  const Augmentation two = {.tensor_brightness = 3, .tensor_contrast = 0.5};
  bool beyond = false;
  int brightness_first = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const auto both = jittered(two, seed);
    for (const float x : both) beyond |= x < 0 || x > 1;
    // Behind a change of brightness by f the mean is f times as large; the mean grey of the result
    // is the same in both orders, but the draws come in the order of the changes.
    Random random(seed);
    const auto order = permutation(3, Random(random.bits()));
    brightness_first += order[0] == 0 || (order[0] == 2 && order[1] == 0) ? 1 : 0;
  }
  EXPECT_TRUE(beyond);
  EXPECT_GT(brightness_first, 30);
  EXPECT_LT(brightness_first, 70);
}

TEST(TensorJitter, LightingAddsOneColourToEveryPixel) {
  double squares = 0;
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    std::vector<float> planes = kPlanes;
    Random random(seed);
    light_values(planes, 0.1, random);
    Random again(seed);
    const double a[] = {0.2175 * 0.1 * again.normal(), 0.0188 * 0.1 * again.normal(),
                        0.0045 * 0.1 * again.normal()};
    EXPECT_NEAR(planes[0] - kPlanes[0], -0.5675 * a[0] + 0.7192 * a[1] + 0.4009 * a[2], 1e-6);
    EXPECT_NEAR(planes[3] - kPlanes[3], -0.5808 * a[0] - 0.0045 * a[1] - 0.8140 * a[2], 1e-6);
    EXPECT_NEAR(planes[4] - kPlanes[4], -0.5836 * a[0] - 0.6948 * a[1] + 0.4203 * a[2], 1e-6);
    EXPECT_NEAR(planes[5] - kPlanes[5], planes[4] - kPlanes[4], 1e-6);
    squares += std::pow(planes[0] - kPlanes[0], 2);
  }
  EXPECT_NEAR(std::sqrt(squares / 500), 0.5675 * 0.2175 * 0.1, 0.002);
}

TEST(TensorJitter, StandsBetweenThePictureAndItsNormalisation) {
  Preprocess settings;
  settings.width = settings.height = 6;
  settings.mean = {0.4F, 0.5F, 0.6F};
  settings.std = {0.1F, 0.2F, 0.4F};
  const Image image = numbered_image(6, 6, 2);
  const Augmentation light = {.lighting = 0.5};
  std::vector<float> plain(108);
  std::vector<float> lit(108);
  augment_into(image, settings, {}, Random(3), plain);
  augment_into(image, settings, light, Random(3), lit);
  for (std::size_t c = 0; c < 3; ++c) {
    const float added = (lit[36 * c] - plain[36 * c]) * settings.std[c];
    EXPECT_NE(added, 0) << c;
    for (std::size_t i = 36 * c; i < 36 * (c + 1); ++i) {
      EXPECT_NEAR((lit[i] - plain[i]) * settings.std[c], added, 1e-5);
    }
  }
  settings.bgr = true;  // mean and std are in the order of the tensor's channels
  std::vector<float> swapped(108);
  augment_into(image, settings, light, Random(3), swapped);
  const auto value = [&](const std::vector<float>& planes, std::size_t c) {
    return planes[36 * c + 5] * settings.std[c] + settings.mean[c];
  };
  EXPECT_NEAR(value(swapped, 0), value(lit, 2), 1e-5);
  EXPECT_NEAR(value(swapped, 2), value(lit, 0), 1e-5);
}

}  // namespace
}  // namespace facet::test
