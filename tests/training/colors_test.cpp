#include "training/colors.h"

#include <gmock/gmock.h>

#include <cmath>

#include "tests/training/pictures.h"

namespace facet::test {
namespace {

using ::testing::ElementsAre;

Image pixels(std::vector<std::uint8_t> values) {
  const int width = static_cast<int>(values.size() / 3);
  return {width, 1, std::move(values)};
}

TEST(Colors, BrightnessScalesAndCutsOff) {
  Image image = pixels({0, 100, 201, 7, 255, 3});
  adjust_brightness(image, 1.5);
  EXPECT_THAT(image.pixels, ElementsAre(0, 150, 255, 10, 255, 4));
  adjust_brightness(image, 0);
  EXPECT_THAT(image.pixels, ::testing::Each(0));
}

TEST(Colors, ContrastStretchesAroundTheMeanLuma) {
  // Lumas 100 and 201: the mean of 150.5 rounds to 151.
  Image image = pixels({100, 100, 100, 201, 201, 201});
  adjust_contrast(image, 0.5);
  EXPECT_THAT(image.pixels, ElementsAre(125, 125, 125, 176, 176, 176));
  adjust_contrast(image, 0);
  EXPECT_THAT(image.pixels, ::testing::Each(151));
}

TEST(Colors, SaturationPullsToTheLuma) {
  Image image = pixels({255, 0, 0, 0, 255, 0, 0, 0, 255});
  Image grey = image;
  adjust_saturation(grey, 0);
  // 0.299, 0.587 and 0.114 of 255, rounded.
  EXPECT_THAT(grey.pixels, ElementsAre(76, 76, 76, 150, 150, 150, 29, 29, 29));
  make_greyscale(image);
  EXPECT_EQ(image.pixels, grey.pixels);
  Image same = pixels({12, 200, 77});
  adjust_saturation(same, 1);
  EXPECT_THAT(same.pixels, ElementsAre(12, 200, 77));
}

TEST(Colors, HueTurnsAroundTheCircle) {
  const Image before = pixels({255, 0, 0, 200, 100, 100, 40, 40, 40, 10, 90, 50});
  Image image = before;
  rotate_hue(image, 1.0 / 3);
  EXPECT_THAT(image.pixels, ElementsAre(0, 255, 0, 100, 200, 100, 40, 40, 40, 50, 10, 90));
  rotate_hue(image, -1.0 / 3);
  EXPECT_EQ(image.pixels, before.pixels);
  rotate_hue(image, 0.5);
  EXPECT_THAT(image.pixels, ElementsAre(0, 255, 255, 100, 200, 200, 40, 40, 40, 90, 10, 50));
  rotate_hue(image, 1.0 / 12);
  EXPECT_EQ(image.pixels[0], 0);
  EXPECT_EQ(image.pixels[1], 128);
  EXPECT_EQ(image.pixels[2], 255);
}

TEST(Colors, HueOfNothingIsNothing) {
  for (int number = 0; number < 5; ++number) {
    Image image = numbered_image(9, 7, number);
    rotate_hue(image, 0);
    EXPECT_EQ(image.pixels, numbered_image(9, 7, number).pixels);
    rotate_hue(image, 1);
    EXPECT_EQ(image.pixels, numbered_image(9, 7, number).pixels);
  }
}

TEST(Colors, BlurSpreadsAsAGaussian) {
  Image image = make_image(13, 13);
  const auto at = [&](int x, int y) -> std::uint8_t& {
    return image.pixels[static_cast<std::size_t>((y * 13 + x) * 3)];
  };
  at(6, 6) = 255;
  blur(image, 1);
  double sum = 0;
  for (int i = -3; i <= 3; ++i) sum += std::exp(-0.5 * i * i);
  for (int y = 0; y < 13; ++y) {
    for (int x = 0; x < 13; ++x) {
      const int dx = x - 6;
      const int dy = y - 6;
      const bool inside = std::abs(dx) <= 3 && std::abs(dy) <= 3;
      const double expected = inside ? 255 * std::exp(-0.5 * (dx * dx + dy * dy)) / (sum * sum) : 0;
      EXPECT_NEAR(at(x, y), expected, 0.51) << x << ", " << y;
    }
  }
  EXPECT_EQ(image.pixels[(6 * 13 + 6) * 3 + 1], 0) << "channels do not mix";
  Image plain = plain_image(5, 4, 10, 20, 30);
  blur(plain, 2);
  EXPECT_EQ(plain.pixels, plain_image(5, 4, 10, 20, 30).pixels) << "the border goes on";
  Image sharp = numbered_image(5, 4, 1);
  blur(sharp, 0);
  EXPECT_EQ(sharp.pixels, numbered_image(5, 4, 1).pixels);
}

TEST(Colors, MirrorSwapsLeftAndRight) {
  Image image = pixels({1, 2, 3, 4, 5, 6, 7, 8, 9});
  mirror(image);
  EXPECT_THAT(image.pixels, ElementsAre(7, 8, 9, 4, 5, 6, 1, 2, 3));
  Image tall = numbered_image(4, 5, 2);
  mirror(tall);
  mirror(tall);
  EXPECT_EQ(tall.pixels, numbered_image(4, 5, 2).pixels);
  for (int width = 1; width < 70; ++width) {
    const Image before = numbered_image(width, 2, width);
    Image after = before;
    mirror(after);
    for (int x = 0; x < 2 * width * 3; ++x) {
      const int row = x / (3 * width) * width;
      const int column = width - 1 - x / 3 % width;
      ASSERT_EQ(after.pixels[static_cast<std::size_t>(x)],
                before.pixels[static_cast<std::size_t>((row + column) * 3 + x % 3)])
          << width << " pixels, byte " << x;
    }
  }
}

}  // namespace
}  // namespace facet::test
