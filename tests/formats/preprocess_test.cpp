#include "runtime/formats/preprocess.h"

#include <gmock/gmock.h>

#include <limits>

#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;

/// Red is the column, green the row, blue 200.
Image grid(int width, int height) {
  Image image = make_image(width, height);
  std::uint8_t* pixel = image.pixels.data();
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      *pixel++ = static_cast<std::uint8_t>(x);
      *pixel++ = static_cast<std::uint8_t>(y);
      *pixel++ = 200;
    }
  }
  return image;
}

TEST(Preprocess, NormalisesIntoPlanes) {
  const Image image = {2, 1, {0, 51, 255, 102, 153, 204}};
  Preprocess settings{.width = 2, .height = 1};
  settings.mean = {0.5F, 0.2F, 0.0F};
  settings.std = {0.5F, 0.1F, 2.0F};
  const HostTensor tensor = preprocess(image, settings);
  EXPECT_EQ(tensor.dtype(), DType::f32);
  EXPECT_EQ(tensor.shape(), (std::vector<std::int64_t>{1, 3, 1, 2}));
  const std::vector<float> values(tensor.as<float>(), tensor.as<float>() + 6);
  EXPECT_THAT(values, ElementsAre(-1, FloatNear(-0.2F, 1e-6F), FloatNear(0, 1e-6F),
                                  FloatNear(4, 1e-5F), 0.5F, FloatNear(0.4F, 1e-6F)));
}

TEST(Preprocess, ReversesTheChannelsButNotMeanAndStd) {
  const Image image = {1, 1, {255, 51, 0}};
  Preprocess settings{.width = 1, .height = 1};
  settings.mean = {0.0F, 0.0F, 0.5F};
  settings.std = {1.0F, 1.0F, 0.5F};
  settings.bgr = true;
  const HostTensor tensor = preprocess(image, settings);
  EXPECT_EQ(tensor.at(0), 0);
  EXPECT_FLOAT_EQ(tensor.as<float>()[1], 0.2F);
  EXPECT_EQ(tensor.at(2), 1);
}

TEST(Preprocess, StretchIsAPlainResize) {
  const Image image = grid(40, 20);
  const Preprocess settings{.width = 7, .height = 9, .filter = Filter::lanczos};
  EXPECT_EQ(fit_image(image, settings).pixels, resize(image, 7, 9, Filter::lanczos).pixels);
}

TEST(Preprocess, CutsTheMiddleOut) {
  // The shorter side is already 10: nothing is resized, 30 columns become columns 10 to 19.
  Preprocess settings{.width = 10, .height = 10, .fit = Preprocess::Fit::center_crop};
  const Image wide = fit_image(grid(30, 10), settings);
  EXPECT_EQ(wide.width, 10);
  EXPECT_EQ(wide.pixels[0], 10);
  EXPECT_EQ(wide.pixels[9 * 3], 19);
  const Image high = fit_image(grid(10, 30), settings);
  EXPECT_EQ(high.pixels[1], 10);
  EXPECT_EQ(high.pixels[(9 * 10) * 3 + 1], 19);

  // 11 - 10 = 1: half of it is rounded to even, 0; 13 - 10 = 3 gives 2.
  EXPECT_EQ(fit_image(grid(11, 10), settings).pixels[0], 0);
  EXPECT_EQ(fit_image(grid(13, 10), settings).pixels[0], 2);

  settings.shorter_side = 12;
  const Image inner = fit_image(grid(12, 16), settings);
  EXPECT_EQ(inner.pixels[0], 1);
  EXPECT_EQ(inner.pixels[1], 3);
}

TEST(Preprocess, ResizesTheShorterSideAndRoundsTheLongerDown) {
  // 30 x 20 to a shorter side of 15: 22.5 becomes 22 columns, of which 4 to 18 (7 / 2 to even)
  // stay.
  const Image image = grid(30, 20);
  const Preprocess settings{.width = 15, .height = 15, .fit = Preprocess::Fit::center_crop};
  const Image resized = resize(image, 22, 15, Filter::bilinear);
  const Image cut = fit_image(image, settings);
  for (int y = 0; y < 15; ++y) {
    for (int i = 0; i < 45; ++i) {
      ASSERT_EQ(cut.pixels[static_cast<std::size_t>(y * 45 + i)],
                resized.pixels[static_cast<std::size_t>((y * 22 + 4) * 3 + i)]);
    }
  }
}

TEST(Preprocess, FillsItsPlaceInABatch) {
  const Image image = grid(4, 4);
  const Preprocess settings{.width = 4, .height = 4};
  std::vector<float> batch(2 * 48, -9.0F);
  preprocess_into(image, settings, std::span(batch).subspan(48));
  const HostTensor single = preprocess(image, settings);
  for (std::size_t i = 0; i < 48; ++i) {
    EXPECT_EQ(batch[i], -9.0F);
    EXPECT_EQ(batch[48 + i], single.as<float>()[i]);
  }
  error_of([&] { preprocess_into(image, settings, batch); }, ErrorKind::usage);
}

TEST(Preprocess, RefusesSettingsWithoutMeaning) {
  const Image image = grid(4, 4);
  const auto refuse = [&](const Preprocess& settings) {
    return error_of([&] { preprocess(image, settings); }, ErrorKind::usage);
  };
  EXPECT_THAT(refuse({.width = 0}), HasSubstr("0 x 112"));
  EXPECT_THAT(refuse({.height = -1}), HasSubstr("112 x -1"));
  EXPECT_THAT(refuse({.fit = Preprocess::Fit::center_crop, .shorter_side = 100}),
              HasSubstr("use at least 112"));
  EXPECT_THAT(refuse({.std = {1, 0, 1}}), HasSubstr("channel 1"));
  EXPECT_THAT(refuse({.mean = {0, 0, std::numeric_limits<float>::quiet_NaN()}}),
              HasSubstr("channel 2"));
  // A line of pixels would become a picture of more pixels than are allowed.
  error_of([] {
    fit_image(make_image(1 << 20, 1),
              {.width = 224, .height = 224, .fit = Preprocess::Fit::center_crop});
  });
}

}  // namespace
}  // namespace facet::test
