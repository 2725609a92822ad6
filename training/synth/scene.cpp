#include "training/synth/scene.h"

#include <algorithm>
#include <cstddef>

namespace facet::synth {
namespace {

constexpr float kSide = 112;  // pixels of the aligned picture
/// InsightFace's places of the eyes, the nose's tip and the mouth's corners.
constexpr float kLandmarks[5][2] = {{38.2946F, 51.6963F},
                                    {73.5318F, 51.5014F},
                                    {56.0252F, 71.7366F},
                                    {41.5493F, 92.3655F},
                                    {70.7299F, 92.2041F}};

}  // namespace

View::View(const Head& head, const Capture& capture, int pixels)
    : rotation_(rotation(capture.yaw, capture.pitch, capture.roll)),
      distance_(capture.camera.distance) {
  // The least squares similarity in closed form, with the landmarks' means taken off.
  Vec3 seen_points[5];
  Vec3 mean;
  Vec3 target_mean;
  const std::array<Vec3, 5> landmarks = head.landmarks();
  for (int i = 0; i < 5; ++i) {
    seen_points[i] = seen(landmarks[static_cast<std::size_t>(i)]);
    mean = mean + seen_points[i] * 0.2F;
    target_mean = target_mean + Vec3{kLandmarks[i][0], kLandmarks[i][1], 0} * 0.2F;
  }
  float along = 0;
  float across = 0;
  float size = 0;
  for (int i = 0; i < 5; ++i) {
    const Vec3 p = seen_points[i] - mean;
    const Vec3 q = Vec3{kLandmarks[i][0], kLandmarks[i][1], 0} - target_mean;
    along += p.x * q.x + p.y * q.y;
    across += p.x * q.y - p.y * q.x;
    size += p.x * p.x + p.y * p.y;
  }
  const Turn error = turn(capture.turn);
  const float scale = capture.zoom * static_cast<float>(pixels) / kSide / size;
  a_ = (along * error.cosine - across * error.sine) * scale;
  b_ = (along * error.sine + across * error.cosine) * scale;
  // Zoom and turn are around the picture's landmarks, pixel centres at whole numbers.
  const float ratio = static_cast<float>(pixels) / kSide;
  left_ = (target_mean.x + capture.shift_x + 0.5F) * ratio - 0.5F - (a_ * mean.x - b_ * mean.y);
  top_ = (target_mean.y + capture.shift_y + 0.5F) * ratio - 0.5F - (b_ * mean.x + a_ * mean.y);
}

Vec3 View::seen(Vec3 point) const {
  const Vec3 p = rotation_.apply(point);
  const float scale = distance_ / (distance_ - p.z);
  return {p.x * scale, p.y * scale, p.z};
}

Vec3 View::project(Vec3 point) const {
  const Vec3 p = seen(point);
  return {a_ * p.x - b_ * p.y + left_, b_ * p.x + a_ * p.y + top_, p.z};
}

float View::pixels_per_unit() const { return root(a_ * a_ + b_ * b_); }

Plane::Plane(const View& view, float z, Vec3 origin) {
  origin.z = z;
  constexpr float kStep = 20;
  origin_ = view.project(origin);
  across_ = (view.project(origin + Vec3{kStep, 0, 0}) - origin_) * (1 / kStep);
  down_ = (view.project(origin + Vec3{0, kStep, 0}) - origin_) * (1 / kStep);
  float area = across_.x * down_.y - across_.y * down_.x;
  if (magnitude(area) < 1e-3F) area = 1e-3F;
  inverse_[0] = down_.y / area;
  inverse_[1] = -down_.x / area;
  inverse_[2] = -across_.y / area;
  inverse_[3] = across_.x / area;
}

Vec3 Plane::at(float px, float py) const {
  const float x = px - origin_.x;
  const float y = py - origin_.y;
  return {inverse_[0] * x + inverse_[1] * y, inverse_[2] * x + inverse_[3] * y, 0};
}

Box Plane::box(float half_width, float half_height) const {
  const float w = magnitude(across_.x) * half_width + magnitude(down_.x) * half_height + 1;
  const float h = magnitude(across_.y) * half_width + magnitude(down_.y) * half_height + 1;
  return box_around(origin_.x, origin_.y, w, h);
}

Vec3 light_on(const Lighting& lighting, Vec3 normal) {
  // y points down: the sky lights what looks up.
  Vec3 light = mix(lighting.sky, lighting.ground, 0.5F + 0.5F * normal.y);
  for (const Light& one : lighting.lights) {
    light = light + one.color * std::max(dot(normal, one.direction), 0.0F);
  }
  return light;
}

}  // namespace facet::synth
