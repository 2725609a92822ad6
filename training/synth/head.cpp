#include "training/synth/head.h"

#include <algorithm>

namespace facet::synth {
namespace {

constexpr float kWidest = -12;  // y

/// A bump around (t, y) whose squares are given by the half axes.
float hill(float t, float y, float half_width, float half_height) {
  return bump(square(t / half_width) + square(y / half_height));
}

}  // namespace

MouthPose mouth_pose(const MouthShape& mouth, const Expression& expression) {
  MouthPose pose;
  pose.half_width =
      mouth.half_width * (1 + 0.14F * expression.smile - 0.015F * expression.mouth_open);
  pose.open = expression.mouth_open;
  pose.corners = mouth.corners + 2.4F * expression.smile;
  pose.y = mouth.y + 0.15F * expression.mouth_open;
  return pose;
}

Head::Head(const FaceIdentity& face, const Expression& expression, float hair_lift)
    : face_(&face), expression_(expression), hair_lift_(hair_lift) {}

float Head::half_width(float y) const {
  const HeadShape& head = face_->head;
  if (y < kWidest) {
    const float up = std::min((kWidest - y) / (kWidest - head.crown), 0.995F);
    return head.half_width * root(1 - up * up);
  }
  const float down = std::min((y - kWidest) / (head.chin - kWidest), 0.995F);
  const float oval = root(1 - down * down);
  const float square_one = root(root(1 - square(square(down))));
  const float straight = (1 - 0.75F * down) * root(root(1 - square(square(square(down)))));
  float width = mix(mix(oval, square_one, head.square_jaw * 0.55F), straight, head.taper * 0.5F);
  width += head.cheekbones * bump(square((y - 12) / 26));
  return head.half_width * width;
}

float Head::front(float y) const {
  const HeadShape& head = face_->head;
  const float depth = head.half_width * head.flatness;
  if (y < kWidest) {
    const float up = std::min((kWidest - y) / (kWidest - head.crown), 1.0F);
    return depth * (0.25F + 0.75F * root(1 - up * up)) - head.forehead * (kWidest - y);
  }
  const float down = (y - kWidest) / (head.chin - kWidest);
  return depth * (1 - 0.13F * down * down) + head.chin_out * down * down;
}

float Head::relief(float t, float y) const {
  const HeadShape& head = face_->head;
  float z = 0;
  for (int side = 0; side < 2; ++side) {
    const float sign = side == 0 ? -1.0F : 1.0F;
    const EyeShape& eye = face_->eyes[static_cast<std::size_t>(side)];
    const float s = sign * t;
    if (s < -4) continue;
    z -= head.sockets * hill(s - eye.t, y - eye.y, 14, 10);
    z += 2.2F * hill(s - eye.t, y - eye.y, 8, 6);
    z += head.brow_ridge * hill(s - eye.t - 1, y + 10 + expression_.brows_up, 17, 7);
    const float smile = std::max(expression_.smile, 0.0F);
    z += (head.cheeks + 2.5F * smile) * hill(s - 23, y - 25 + 3 * smile, 17, 19);
    z -= 1.5F * hill(s - 38, y + 12, 12, 20);
  }

  const NoseShape& nose = face_->nose;
  const float along = (y - nose.bridge) / (nose.tip - nose.bridge);
  if (along > -0.6F && y < nose.tip + 9) {
    const float down = unit(along);
    float height = mix(nose.bridge_height, nose.height, down * mix(down, 1, 0.4F)) +
                   4 * nose.hook * down * (1 - down);
    if (along < 0) height *= square(1 + along / 0.6F);
    if (y > nose.tip) height *= 1 - smooth_step(nose.tip, nose.tip + 8, y);
    const float width = mix(nose.bridge_width, nose.wings * 1.15F, down * down);
    const float middle = 4 * nose.bend * down * (1 - down);
    z += height * bump(square((t - middle) / (width * 1.25F)));
    z += 2.5F * bump(square((magnitude(t) - nose.wings * 0.75F) / 4.5F) +
                     square((y - nose.tip - 1.5F) / 5));
  }

  const MouthShape& mouth = face_->mouth;
  const float from_mouth = y - mouth.y;
  z += mouth.fullness * hill(t, from_mouth, mouth.half_width * 1.15F, 9);
  z -= 1.8F * hill(t, from_mouth - 9.5F, 13, 5);
  z += 3 * hill(t, y - head.chin + 9, 13, 10);
  return z;
}

Vec3 Head::point(float t, float y, Turn around) const {
  const float width = half_width(y);
  Vec3 p = {width * around.sine, y, front(y) + width * face_->head.flatness * (around.cosine - 1)};
  p.z += relief(t, y);
  // Hair stands off the skull.
  const float hair = face_->hair.bald ? 0.0F : smooth_step(1, -9, y - hair_line(t));
  const float off = face_->hair.volume * hair;
  p.x += off * around.sine;
  p.z += off * unit(around.cosine + 0.3F);
  p.y -= 0.4F * off * unit(-y / 40);
  return p;
}

std::array<Vec3, 5> Head::landmarks() const {
  const MouthPose pose = mouth_pose(face_->mouth, expression_);
  const float centre = face_->mouth.off_centre;
  const float corner = pose.y - pose.corners;
  return {point(-face_->eyes[0].t, face_->eyes[0].y), point(face_->eyes[1].t, face_->eyes[1].y),
          point(0, face_->nose.tip), point(centre - pose.half_width, corner),
          point(centre + pose.half_width, corner)};
}

float Head::hair_line(float t) const {
  const HairShape& hair = face_->hair;
  const float away = magnitude(t);
  float line = hair.line - hair_lift_ + hair.part * t;
  line += hair.peak * bump(square(t / 9));
  line += 2.5F * bump(square((away - hair.temple) / 12)) * -1;
  const float side = smooth_step(hair.side - 7, hair.side + 2, away);
  return mix(std::min(line, -12.0F), hair.sideburn, side);
}

}  // namespace facet::synth
