#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/formats/image.h"

namespace facet {

/// A place in a picture, in pixels from the middle of its upper left pixel.
struct Point {
  double x = 0;
  double y = 0;
};

/// Left eye (as seen), right eye, nose, left and right corner of the mouth.
using FacePoints = std::array<Point, 5>;

/// Where they are in an aligned face of 112 x 112 (specs: MLA-ArcFace 4.5).
inline constexpr FacePoints kAlignedFace = {{{38.2946, 51.6963},
                                             {73.5318, 51.5014},
                                             {56.0252, 71.7366},
                                             {41.5493, 92.3655},
                                             {70.7299, 92.2041}}};

/// The five of 5 or 68 landmarks (iBUG's order: eyes are the means of points 36 and 39, 42 and 45,
/// nose 30, mouth 48 and 54; counted from 0). Throws Error(usage) for another number.
FacePoints face_points(std::span<const Point> landmarks);

/// x' = a x - b y + tx, y' = b x + a y + ty: rotation and scale without reflection.
struct Similarity {
  double a = 1;
  double b = 0;
  double tx = 0;
  double ty = 0;

  Point apply(Point p) const { return {a * p.x - b * p.y + tx, b * p.x + a * p.y + ty}; }
  Similarity inverse() const;
};

/// The similarity that brings `from` nearest to `to` in least squares (Umeyama, IEEE TPAMI 13(4),
/// 1991). Throws Error(failure) if the points of `from` are one point or not finite, or no scale
/// above 0 fits.
Similarity fit_similarity(std::span<const Point> from, std::span<const Point> to);

/// The picture of `width` x `height` whose pixel p shows what `image` has at `transform`^-1 (p):
/// bilinear, 0 outside. Throws Error(failure) for a size without pixels or a transform without
/// inverse.
Image warp(const Image& image, const Similarity& transform, int width, int height);

/// The face with these landmarks (5 or 68) moved to their places in a picture of `size` x `size`,
/// 112 as a rule: kAlignedFace grows with it. Throws as the functions above.
Image align_face(const Image& image, std::span<const Point> landmarks, int size = 112);

}  // namespace facet
