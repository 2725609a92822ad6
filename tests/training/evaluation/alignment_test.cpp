#include "training/evaluation/alignment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "ir/error.h"

namespace facet {
namespace {

constexpr FacePoints kFace = {
    {{120.5, 98.25}, {178.0, 110.75}, {140.0, 140.5}, {118.25, 165.0}, {160.5, 175.25}}};

/// 240 x 200 pixels by a formula.
Image formula_picture() {
  Image image = make_image(240, 200);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        image.pixels[static_cast<std::size_t>((y * image.width + x) * 3 + c)] =
            static_cast<std::uint8_t>((3 * x + 2 * y * (c + 1) + ((x * y) >> 4)) & 127);
      }
    }
  }
  return image;
}

int at(const Image& image, int y, int x, int c) {
  return image.pixels[static_cast<std::size_t>((y * image.width + x) * 3 + c)];
}

// Expected numbers: scikit-image 0.26's SimilarityTransform.
TEST(Alignment, SimilarityIsUmeyamas) {
  const Similarity fitted = fit_similarity(kFace, kAlignedFace);
  EXPECT_NEAR(fitted.a, 0.60459492853849728, 1e-12);
  EXPECT_NEAR(fitted.b, -0.11187710170022423, 1e-12);
  EXPECT_NEAR(fitted.tx, -46.136428678393372, 1e-10);
  EXPECT_NEAR(fitted.ty, 4.5456798470114705, 1e-10);
}

TEST(Alignment, KnownSimilarityIsFoundExactly) {
  const Similarity known = {1.5, -0.7, 12, -30};
  FacePoints moved;
  for (std::size_t i = 0; i < moved.size(); ++i) moved[i] = known.apply(kFace[i]);
  const Similarity fitted = fit_similarity(kFace, moved);
  EXPECT_NEAR(fitted.a, known.a, 1e-12);
  EXPECT_NEAR(fitted.b, known.b, 1e-12);
  const Point there = known.inverse().apply(moved[2]);
  EXPECT_NEAR(there.x, kFace[2].x, 1e-10);
  EXPECT_NEAR(there.y, kFace[2].y, 1e-10);
}

// Expected pixels: OpenCV 5.0's warpAffine, which rounds places to a fraction of a pixel.
TEST(Alignment, WarpIsWithinAGreyLevelOfOpenCv) {
  const Image face = align_face(formula_picture(), kFace);
  ASSERT_EQ(face.width, 112);
  ASSERT_EQ(face.height, 112);
  const int expected[][5] = {{0, 0, 12, 25, 37},    {10, 20, 41, 98, 26}, {56, 56, 47, 16, 105},
                             {100, 3, 106, 65, 16}, {111, 111, 0, 0, 0},  {30, 90, 64, 98, 5}};
  for (const auto& [y, x, r, g, b] : expected) {
    EXPECT_LE(std::abs(at(face, y, x, 0) - r), 1) << y << ", " << x;
    EXPECT_LE(std::abs(at(face, y, x, 1) - g), 1) << y << ", " << x;
    EXPECT_LE(std::abs(at(face, y, x, 2) - b), 1) << y << ", " << x;
  }
  double sum = 0;
  for (const std::uint8_t value : face.pixels) sum += value;
  EXPECT_NEAR(sum, 2279336, 400);
}

TEST(Alignment, IdentityKeepsThePictureAndShiftsAreBlackOutside) {
  const Image image = formula_picture();
  EXPECT_EQ(warp(image, {}, image.width, image.height).pixels, image.pixels);
  const Image shifted = warp(image, {1, 0, 5, 0}, image.width, image.height);
  EXPECT_EQ(at(shifted, 50, 4, 1), 0);
  EXPECT_EQ(at(shifted, 50, 5, 1), at(image, 50, 0, 1));
  const Image half = warp(image, {1, 0, 0.5, 0}, image.width, image.height);
  EXPECT_EQ(at(half, 50, 0, 1), std::lround(at(image, 50, 0, 1) / 2.0));
}

TEST(Alignment, TheFaceGrowsWithTheSize) {
  const Image large = align_face(formula_picture(), kFace, 224);
  const Image small = align_face(formula_picture(), kFace, 112);
  EXPECT_EQ(large.width, 224);
  EXPECT_NEAR(at(large, 112, 112, 0), at(small, 56, 56, 0), 1);
}

TEST(Alignment, SixtyEightLandmarksGiveFive) {
  std::vector<Point> all(68);
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i] = {static_cast<double>(i), static_cast<double>(i) / 2};
  const FacePoints five = face_points(all);
  EXPECT_EQ(five[0].x, 37.5);
  EXPECT_EQ(five[1].x, 43.5);
  EXPECT_EQ(five[2].x, 30);
  EXPECT_EQ(five[3].y, 24);
  EXPECT_EQ(five[4].x, 54);
}

TEST(Alignment, WhatIsNoFaceIsRefused) {
  const std::vector<Point> four(4);
  EXPECT_THROW(face_points(four), Error);
  const std::vector<Point> one_point(5, {3, 3});
  EXPECT_THROW(align_face(formula_picture(), one_point), Error);
  std::vector<Point> bad(kFace.begin(), kFace.end());
  bad[3].x = std::nan("");
  EXPECT_THROW(align_face(formula_picture(), bad), Error);
  EXPECT_THROW(Similarity({0, 0, 1, 1}).inverse(), Error);
}

}  // namespace
}  // namespace facet
