#include "training/scales.h"

#include <gmock/gmock.h>

#include <cstring>

#include "tests/formats/temp_folder.h"
#include "tests/training/pictures.h"
#include "training/loader.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;
using Planes = std::vector<float>;

Preprocess square() {
  Preprocess settings;
  settings.width = settings.height = 12;
  return settings;
}

/// Everything that draws.
Augmentation everything() {
  return {.crop = Crop::resized,
          .area_min = 0.3,
          .flip = 0.5,
          .brightness = 0.4,
          .hue = 0.1,
          .blur = 0.5,
          .tensor_contrast = 0.4,
          .lighting = 0.1,
          .erase = 0.5};
}

std::vector<Planes> scaled(const Image& image, const Augmentation& augmentation,
                           const Scales& scales, Random random) {
  std::vector<Planes> planes(scales.count(), Planes(3 * 12 * 12));
  const std::vector<std::span<float>> places(planes.begin(), planes.end());
  augment_scales_into(image, square(), augmentation, scales, random, places);
  return planes;
}

Planes augmented(const Image& image, const Augmentation& augmentation, Random random) {
  Planes planes(3 * 12 * 12);
  augment_into(image, square(), augmentation, random, planes);
  return planes;
}

TEST(Scales, WithoutAugmentationEachIsMadeSmallAndLargeAgain) {
  const Image image = numbered_image(20, 16, 3);
  for (const bool aligned : {false, true}) {
    const Scales scales = {.sizes = {4, 7}, .aligned = aligned};
    const auto planes = scaled(image, {}, scales, Random(1));
    EXPECT_EQ(planes[0], augmented(image, {}, Random(1)));
    for (std::size_t k = 1; k < 3; ++k) {
      const int side = static_cast<int>(scales.sizes[k - 1]);
      const Image whole = aligned ? resize(image, 12, 12, Filter::bilinear) : image;
      const Image small = resize(whole, side, side, Filter::lanczos);
      EXPECT_EQ(planes[k], augmented(small, {}, Random(1))) << side << " aligned " << aligned;
    }
    EXPECT_NE(planes[1], planes[2]);
  }
}

TEST(Scales, TheFullResolutionDoesNotDependOnTheOthers) {
  const Image image = numbered_image(20, 16, 3);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Planes alone = augmented(image, everything(), Random(seed, 2, 5));
    for (const bool aligned : {false, true}) {
      const Scales scales = {.sizes = {8, 4}, .aligned = aligned};
      EXPECT_EQ(scaled(image, everything(), scales, Random(seed, 2, 5))[0], alone);
    }
  }
}

/// Left and right brightness differ, so that a mirrored picture is known.
bool is_mirrored(const Planes& planes) { return planes[0] > planes[11]; }

TEST(Scales, OnlyAlignedOnesShareTheGeometricDraw) {
  Image image = make_image(12, 12);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<std::uint8_t>(i % 36 / 3 * 20);
  }
  const Augmentation flips = {.flip = 0.5};
  std::size_t apart = 0;
  std::size_t mirrored = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const auto together = scaled(image, flips, {.sizes = {4}, .aligned = true}, Random(seed));
    EXPECT_EQ(is_mirrored(together[0]), is_mirrored(together[1])) << seed;
    mirrored += is_mirrored(together[0]) ? 1 : 0;
    const auto each = scaled(image, flips, {.sizes = {4}}, Random(seed));
    apart += is_mirrored(each[0]) != is_mirrored(each[1]) ? 1 : 0;
  }
  EXPECT_GT(mirrored, 30U);
  EXPECT_LT(mirrored, 70U);
  EXPECT_GT(apart, 30U) << "independent draws differ about every second time";
  EXPECT_LT(apart, 70U);
}

TEST(Scales, IndependentCropsAreCutOutOfWhatIsSmall) {
  // A window of a quarter of 4 x 4 pixels is 2 x 2: four colours at most, before they are spread.
  const Image image = numbered_image(40, 40, 1);
  const Augmentation crop = {
      .crop = Crop::resized, .area_min = 0.25, .area_max = 0.25, .aspect_min = 1, .aspect_max = 1};
  const Planes small = scaled(image, crop, {.sizes = {4}}, Random(7))[1];
  // Bilinear spreading of 2 x 2 pixels over 12 x 12 leaves the outer quarter of a row constant.
  for (std::size_t row = 0; row < 12; ++row) {
    EXPECT_EQ(small[12 * row], small[12 * row + 1]);
    EXPECT_EQ(small[12 * row + 10], small[12 * row + 11]);
  }
}

TEST(Scales, SizesMustMakeSense) {
  const auto refusal = [](const Scales& scales) {
    return error_of([&] { check_scales(scales); }, ErrorKind::usage);
  };
  EXPECT_THAT(refusal({.sizes = {8, 0}}), HasSubstr("scales.sizes has 0"));
  EXPECT_THAT(refusal({.sizes = {8, 12, 8}}), HasSubstr("has 8 twice"));
  check_scales({});
}

bool same(const HostTensor& a, const HostTensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.byte_count())) == 0;
}

std::vector<Batch> batches_of(const Dataset& data, const LoaderOptions& options) {
  Loader loader(data, square(), everything(), options);
  std::vector<Batch> batches;
  while (std::optional<Batch> batch = loader.next()) batches.push_back(std::move(*batch));
  return batches;
}

TEST(Scales, ThreadsAndWhereALoaderBeginsDoNotChangeABit) {
  const NumberedPictures data(23, 14, {3, 20});
  for (const bool aligned : {false, true}) {
    for (const OnBadImage policy : {OnBadImage::replace, OnBadImage::leave_out}) {
      LoaderOptions options;
      options.batch = 4;
      options.drop_last = false;
      options.on_bad_image = policy;
      options.scales = {.sizes = {4, 8}, .aligned = aligned};
      options.end_epoch = 2;
      const auto one = batches_of(data, options);
      ASSERT_EQ(one.size(), 12U);
      LoaderOptions many_options = options;
      many_options.threads = 4;
      const auto many = batches_of(data, many_options);
      LoaderOptions late_options = options;
      late_options.first_epoch = 1;
      const auto late = batches_of(data, late_options);
      for (std::size_t i = 0; i < one.size(); ++i) {
        ASSERT_EQ(one[i].scales.size(), 2U);
        EXPECT_TRUE(same(one[i].pixels, many[i].pixels));
        for (std::size_t k = 0; k < 2; ++k) {
          EXPECT_EQ(one[i].scales[k].shape(), one[i].pixels.shape())
              << "bad pictures leave all scales";
          EXPECT_TRUE(same(one[i].scales[k], many[i].scales[k])) << i;
          if (i >= 6) {
            EXPECT_TRUE(same(one[i].scales[k], late[i - 6].scales[k])) << i;
          }
        }
        EXPECT_FALSE(same(one[i].scales[0], one[i].scales[1]));
      }
    }
  }
}

}  // namespace
}  // namespace facet::test
