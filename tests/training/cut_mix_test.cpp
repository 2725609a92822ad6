#include "training/cut_mix.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <vector>

namespace facet::test {
namespace {

/// Picture i is filled with i + channel / 4.
HostTensor numbered_pixels(std::int64_t count, std::int64_t height, std::int64_t width) {
  HostTensor pixels(DType::f32, {count, 3, height, width});
  for (std::int64_t i = 0; i < pixels.element_count(); ++i) {
    const std::int64_t plane = i / (height * width);
    pixels.as_mutable<float>()[i] =
        static_cast<float>(plane / 3) + static_cast<float>(plane % 3) / 4;
  }
  return pixels;
}

HostTensor numbers(std::int64_t count) {
  HostTensor labels(DType::i64, {count});
  for (std::int64_t i = 0; i < count; ++i) labels.as_mutable<std::int64_t>()[i] = 10 + i;
  return labels;
}

TEST(CutMix, PastesOneBoxOfTheLabelledPicture) {
  constexpr std::int64_t kCount = 5;
  double least = 1;
  double most = 0;
  for (std::uint64_t draw = 0; draw < 300; ++draw) {
    HostTensor pixels = numbered_pixels(kCount, 8, 12);
    const HostTensor labels = numbers(kCount);
    const CutMixResult result = cut_mix(pixels, labels, {.cut_mix = 1}, Random(draw));
    least = std::min(least, result.own);
    most = std::max(most, result.own);
    std::vector<std::int64_t> givers;
    for (std::int64_t i = 0; i < kCount; ++i) {
      const std::int64_t giver = result.labels.as<std::int64_t>()[i] - 10;
      givers.push_back(giver);
      for (std::int64_t channel = 0; channel < 3; ++channel) {
        int foreign = 0;
        const float shade = static_cast<float>(channel) / 4;
        int left = 12, right = -1, top = 8, bottom = -1;
        for (int at = 0; at < 96; ++at) {
          const float value = pixels.as<float>()[(i * 3 + channel) * 96 + at];
          if (value == static_cast<float>(i) + shade) continue;
          EXPECT_EQ(value, static_cast<float>(giver) + shade);
          ++foreign;
          left = std::min(left, at % 12);
          right = std::max(right, at % 12);
          top = std::min(top, at / 12);
          bottom = std::max(bottom, at / 12);
        }
        if (giver == i) {
          EXPECT_EQ(foreign, 0);
        } else {
          EXPECT_NEAR(1 - foreign / 96.0, result.own, 1e-12);
          if (foreign > 0) {
            EXPECT_EQ(foreign, (right - left + 1) * (bottom - top + 1));
          }
        }
      }
    }
    std::ranges::sort(givers);
    EXPECT_THAT(givers, ::testing::ElementsAre(0, 1, 2, 3, 4));
  }
  EXPECT_LT(least, 0.4);  // the largest possible box has 6 x 10 of the 8 x 12 pixels
  EXPECT_GT(most, 0.95);
}

TEST(CutMix, OffItChangesNothing) {
  HostTensor pixels = numbered_pixels(3, 4, 4);
  const HostTensor labels = numbers(3);
  const CutMixResult result = cut_mix(pixels, labels, {.cut_mix = 0}, Random(1));
  EXPECT_EQ(result.own, 1);
  EXPECT_EQ(result.labels.to_doubles(), labels.to_doubles());
  EXPECT_EQ(pixels.to_doubles(), numbered_pixels(3, 4, 4).to_doubles());
}

}  // namespace
}  // namespace facet::test
