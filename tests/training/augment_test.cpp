#include "training/augment.h"

#include <gmock/gmock.h>

#include <cmath>
#include <set>

#include "tests/formats/temp_folder.h"
#include "tests/training/pictures.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

/// Values are grey levels: mean 0 and std 1 / 255.
Preprocess levels(int width, int height) {
  Preprocess settings;
  settings.width = width;
  settings.height = height;
  settings.mean = {0, 0, 0};
  settings.std = {1 / 255.0F, 1 / 255.0F, 1 / 255.0F};
  return settings;
}

std::vector<float> augmented(const Image& image, const Preprocess& settings,
                             const Augmentation& augmentation, std::uint64_t item = 0) {
  std::vector<float> values(static_cast<std::size_t>(3 * settings.width * settings.height), -1);
  augment_into(image, settings, augmentation, Random(11, 2, item), values);
  return values;
}

TEST(Augment, NothingIsPreprocessing) {
  Preprocess settings;
  settings.width = 7;
  settings.height = 9;
  const Image image = numbered_image(16, 12, 3);
  const HostTensor expected = preprocess(image, settings);
  const std::vector<float> values = augmented(image, settings, {});
  EXPECT_EQ(values, std::vector<float>(expected.as<float>(),
                                       expected.as<float>() + expected.element_count()));
}

TEST(Augment, ItemsDifferAndRepeat) {
  const Augmentation all = {.crop = Crop::resized,
                            .flip = 0.5,
                            .brightness = 0.4,
                            .contrast = 0.4,
                            .saturation = 0.4,
                            .hue = 0.1,
                            .greyscale = 0.2,
                            .blur = 0.5,
                            .erase = 0.5};
  const Image image = numbered_image(24, 20, 1);
  std::set<std::vector<float>> results;
  for (std::uint64_t item = 0; item < 20; ++item) {
    const std::vector<float> values = augmented(image, levels(8, 8), all, item);
    EXPECT_EQ(values, augmented(image, levels(8, 8), all, item));
    results.insert(values);
  }
  EXPECT_EQ(results.size(), 20U);
}

/// Every window of `image` with zeros around it, to find a crop in.
TEST(Augment, RandomCropIsAWindowOfThePaddedPicture) {
  constexpr int kSide = 6;
  constexpr int kPadding = 2;
  const Image image = numbered_image(kSide, kSide, 4);
  const auto padded = [&](int x, int y, int channel) -> float {
    x -= kPadding;
    y -= kPadding;
    if (x < 0 || y < 0 || x >= kSide || y >= kSide) return 0;
    return image.pixels[static_cast<std::size_t>((y * kSide + x) * 3 + channel)];
  };
  std::set<std::pair<int, int>> places;
  for (std::uint64_t item = 0; item < 400; ++item) {
    const auto values = augmented(image, levels(kSide, kSide),
                                  {.crop = Crop::random, .crop_padding = kPadding}, item);
    int matches = 0;
    for (int top = 0; top <= 2 * kPadding; ++top) {
      for (int left = 0; left <= 2 * kPadding; ++left) {
        bool same = true;
        for (int i = 0; i < 3 * kSide * kSide && same; ++i) {
          const int y = i / kSide % kSide;
          const float expected = padded(left + i % kSide, top + y, i / kSide / kSide);
          same = std::abs(values[static_cast<std::size_t>(i)] - expected) < 1e-3F;
        }
        if (!same) continue;
        ++matches;
        places.emplace(left, top);
      }
    }
    ASSERT_EQ(matches, 1) << "item " << item;
  }
  EXPECT_EQ(places.size(), 25U) << "every place is drawn";
}

TEST(Augment, RandomCropOfALargerPictureNeedsNoPadding) {
  Preprocess settings = levels(4, 4);
  settings.shorter_side = 6;
  std::set<float> corners;
  const Image image = numbered_image(6, 6, 2);
  for (std::uint64_t item = 0; item < 200; ++item) {
    corners.insert(std::round(augmented(image, settings, {.crop = Crop::random}, item)[0]));
  }
  std::set<float> expected;
  for (int y = 0; y <= 2; ++y) {
    for (int x = 0; x <= 2; ++x) {
      expected.insert(image.pixels[static_cast<std::size_t>((y * 6 + x) * 3)]);
    }
  }
  EXPECT_EQ(corners, expected);
  settings.shorter_side = 3;
  EXPECT_THAT(error_of([&] { augmented(image, settings, {.crop = Crop::random}); }),
              HasSubstr("does not fit a picture of 3 x 3"));
}

TEST(Augment, ResizedCropWindowsKeepTheirLimits) {
  const Augmentation settings = {.crop = Crop::resized};
  double least = 1;
  double most = 0;
  for (std::uint64_t item = 0; item < 3000; ++item) {
    Random random(1, 0, item);
    const Window window = resized_crop_window(200, 150, settings, random);
    ASSERT_GE(window.left, 0);
    ASSERT_GE(window.top, 0);
    ASSERT_LE(window.left + window.width, 200);
    ASSERT_LE(window.top + window.height, 150);
    const double ratio = static_cast<double>(window.width) / window.height;
    EXPECT_GT(ratio, 0.75 - 0.02);
    EXPECT_LT(ratio, 4.0 / 3 + 0.04);
    const double part = window.width * window.height / (200.0 * 150);
    least = std::min(least, part);
    most = std::max(most, part);
  }
  EXPECT_NEAR(least, 0.08, 0.01);
  EXPECT_GT(most, 0.9);
}

TEST(Augment, ResizedCropFallsBackToTheCentre) {
  const Augmentation settings = {.area_min = 1, .area_max = 1};
  Random random(3);
  // No window of the whole area has a ratio in range: the largest one in the middle.
  const Window wide = resized_crop_window(300, 60, settings, random);
  EXPECT_EQ(wide.width, 80);
  EXPECT_EQ(wide.height, 60);
  EXPECT_EQ(wide.left, 110);
  EXPECT_EQ(wide.top, 0);
  const Window tall = resized_crop_window(60, 301, settings, random);
  EXPECT_EQ(tall.width, 60);
  EXPECT_EQ(tall.height, 80);
  EXPECT_EQ(tall.top, 110);
}

TEST(Augment, ResizedCropScalesItsWindow) {
  // Left half black, right half white: any window has only these and what lies between.
  Image image = make_image(40, 40);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = i / 3 % 40 < 20 ? 0 : 255;
  const auto values = augmented(image, levels(10, 10), {.crop = Crop::resized, .area_min = 0.9});
  for (std::size_t y = 0; y < 30; ++y) {
    EXPECT_EQ(values[y * 10], 0);
    EXPECT_NEAR(values[y * 10 + 9], 255, 1e-3);
  }
}

TEST(Augment, FlipHasItsProbability) {
  Image image = make_image(2, 1);
  image.pixels = {10, 10, 10, 20, 20, 20};
  int flipped = 0;
  for (std::uint64_t item = 0; item < 2000; ++item) {
    const auto values = augmented(image, levels(2, 1), {.flip = 0.3}, item);
    if (values[0] > 15) ++flipped;
  }
  EXPECT_NEAR(flipped, 600, 80);
}

TEST(Augment, EraseMakesOneWindowTheMean) {
  Preprocess settings;  // mean 0.5: the erased value 0 is grey level 127.5
  settings.width = 20;
  settings.height = 16;
  int erased = 0;
  for (std::uint64_t item = 0; item < 200; ++item) {
    const auto values = augmented(plain_image(20, 16, 255, 255, 255), settings, {.erase = 1}, item);
    int left = 20, right = -1, top = 16, bottom = -1, zeros = 0;
    for (int i = 0; i < 20 * 16; ++i) {
      const bool zero = values[static_cast<std::size_t>(i)] == 0;
      for (int channel : {1, 2}) {
        EXPECT_EQ(values[static_cast<std::size_t>(i + channel * 320)] == 0, zero);
      }
      if (!zero) continue;
      ++zeros;
      left = std::min(left, i % 20);
      right = std::max(right, i % 20);
      top = std::min(top, i / 20);
      bottom = std::max(bottom, i / 20);
    }
    if (zeros == 0) continue;
    ++erased;
    EXPECT_EQ(zeros, (right - left + 1) * (bottom - top + 1)) << "a rectangle";
    EXPECT_LE(zeros, 320 / 3 + 20);
  }
  EXPECT_GT(erased, 190);
}

TEST(Augment, ColoursChangeWhereAskedFor) {
  const Image image = plain_image(3, 3, 200, 100, 50);
  const auto grey = augmented(image, levels(3, 3), {.greyscale = 1});
  EXPECT_EQ(grey[0], grey[9]);
  EXPECT_EQ(grey[0], grey[18]);
  std::set<float> reds;
  for (std::uint64_t item = 0; item < 300; ++item) {
    const auto values = augmented(image, levels(3, 3), {.brightness = 0.2}, item);
    reds.insert(std::round(values[0]));
    EXPECT_NEAR(values[0] / values[18], 4, 0.15) << "brightness keeps the colour";
  }
  EXPECT_GE(*reds.begin(), 159);
  EXPECT_LE(*reds.begin(), 162);
  EXPECT_GE(*reds.rbegin(), 237);
  EXPECT_LE(*reds.rbegin(), 240);
  EXPECT_THAT(augmented(image, levels(3, 3), {.jitter = 0, .brightness = 1, .hue = 0.5}),
              ::testing::Eq(augmented(image, levels(3, 3), {})));
}

TEST(Augment, FieldsOutOfRangeAreNamed) {
  const auto refusal = [](const Augmentation& augmentation) {
    return error_of([&] { check_augmentation(augmentation); }, ErrorKind::usage);
  };
  check_augmentation({});
  EXPECT_THAT(refusal({.flip = 1.5}),
              HasSubstr("augmentation.flip is 1.5; it must be from 0 to 1"));
  EXPECT_THAT(refusal({.hue = 0.7}), HasSubstr("augmentation.hue"));
  EXPECT_THAT(refusal({.crop_padding = -1}), HasSubstr("augmentation.crop_padding"));
  EXPECT_THAT(refusal({.area_min = std::nan("")}), HasSubstr("augmentation.area_min"));
  EXPECT_THAT(refusal({.area_min = 0.5, .area_max = 0.2}),
              AllOf(HasSubstr("augmentation.area_min"), HasSubstr("augmentation.area_max")));
}

}  // namespace
}  // namespace facet::test
