#include "training/evaluation/alignment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "ir/error.h"

namespace facet {
namespace {

Point middle(Point a, Point b) { return {(a.x + b.x) / 2, (a.y + b.y) / 2}; }

Point mean(std::span<const Point> points) {
  Point sum;
  for (const Point& point : points) {
    sum.x += point.x;
    sum.y += point.y;
  }
  const auto count = static_cast<double>(points.size());
  return {sum.x / count, sum.y / count};
}

}  // namespace

FacePoints face_points(std::span<const Point> landmarks) {
  if (landmarks.size() == 68) {
    return {middle(landmarks[36], landmarks[39]), middle(landmarks[42], landmarks[45]),
            landmarks[30], landmarks[48], landmarks[54]};
  }
  if (landmarks.size() != 5) {
    throw usage_error(fmt::format(
        "{} landmarks; a face has 5 (eyes, nose, corners of the mouth) or 68", landmarks.size()));
  }
  FacePoints points;
  std::ranges::copy(landmarks, points.begin());
  return points;
}

Similarity Similarity::inverse() const {
  const double squared = a * a + b * b;
  if (!(squared > 0) || !std::isfinite(squared)) throw failure("the transform has no inverse");
  Similarity result;
  result.a = a / squared;
  result.b = -b / squared;
  const Point origin = result.apply({tx, ty});
  result.tx = -origin.x;
  result.ty = -origin.y;
  return result;
}

Similarity fit_similarity(std::span<const Point> from, std::span<const Point> to) {
  if (from.size() != to.size() || from.empty()) {
    throw usage_error("a similarity is fitted to as many points as places");
  }
  const Point centre_from = mean(from);
  const Point centre_to = mean(to);
  // In the plane Umeyama's singular value decomposition has this closed form: of all rotations
  // (without reflection) the best one has the direction of the sum of conj(from) * to.
  double along = 0;
  double across = 0;
  double spread = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const Point f = {from[i].x - centre_from.x, from[i].y - centre_from.y};
    const Point t = {to[i].x - centre_to.x, to[i].y - centre_to.y};
    along += f.x * t.x + f.y * t.y;
    across += f.x * t.y - f.y * t.x;
    spread += f.x * f.x + f.y * f.y;
  }
  Similarity result;
  result.a = along / spread;
  result.b = across / spread;
  const double squared = result.a * result.a + result.b * result.b;
  if (!(spread > 0) || !(squared > 0) || !std::isfinite(squared)) {
    throw failure("the landmarks cannot be aligned: they are one point, or not finite");
  }
  result.tx = centre_to.x - (result.a * centre_from.x - result.b * centre_from.y);
  result.ty = centre_to.y - (result.b * centre_from.x + result.a * centre_from.y);
  return result;
}

Image warp(const Image& image, const Similarity& transform, int width, int height) {
  check_image(image);
  const Similarity back = transform.inverse();
  Image result = make_image(width, height);
  const auto pixel = [&](std::int64_t x, std::int64_t y, int c) -> double {
    if (x < 0 || y < 0 || x >= image.width || y >= image.height) return 0;
    return image.pixels[static_cast<std::size_t>((y * image.width + x) * Image::channels + c)];
  };
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const Point at = back.apply({static_cast<double>(x), static_cast<double>(y)});
      // Also false for NaN; beyond these the pixel is black, and a number would not fit an integer.
      if (!(at.x > -1 && at.y > -1 && at.x < image.width && at.y < image.height)) continue;
      const auto left = static_cast<std::int64_t>(std::floor(at.x));
      const auto top = static_cast<std::int64_t>(std::floor(at.y));
      const double u = at.x - static_cast<double>(left);
      const double v = at.y - static_cast<double>(top);
      for (int c = 0; c < Image::channels; ++c) {
        const double value =
            (1 - v) * ((1 - u) * pixel(left, top, c) + u * pixel(left + 1, top, c)) +
            v * ((1 - u) * pixel(left, top + 1, c) + u * pixel(left + 1, top + 1, c));
        const auto place =
            static_cast<std::size_t>((std::int64_t{y} * width + x) * Image::channels + c);
        result.pixels[place] = static_cast<std::uint8_t>(std::lround(value));
      }
    }
  }
  return result;
}

Image align_face(const Image& image, std::span<const Point> landmarks, int size) {
  const FacePoints points = face_points(landmarks);
  FacePoints places = kAlignedFace;
  for (Point& place : places) place = {place.x * size / 112, place.y * size / 112};
  return warp(image, fit_similarity(points, places), size, size);
}

}  // namespace facet
