#include "training/synth/capture.h"

#include <algorithm>

namespace facet::synth {
namespace {

float spread(Random& random, double mean, double deviation) {
  return static_cast<float>(mean + deviation * std::clamp(random.normal(), -2.2, 2.2));
}

float between(Random& random, double low, double high) {
  return static_cast<float>(random.uniform(low, high));
}

Vec3 any_color(Random& random, double low, double high) {
  return {between(random, low, high), between(random, low, high), between(random, low, high)};
}

/// Towards a light: `side` in [-1, 1] from left to right, `up` above the face.
Vec3 towards(float side, float up, float front) { return normalized({side, -up, front}); }

void draw_pose(double d, Random& random, Capture& capture) {
  // Mostly near the front, with a tail to half profiles.
  capture.yaw = spread(random, 0, 0.28 * d);
  if (random.chance(0.25)) capture.yaw += between(random, -0.35, 0.35) * static_cast<float>(d);
  capture.pitch = spread(random, 0.02, 0.13 * d);
  capture.roll = spread(random, 0, 0.12 * d);
  capture.shift_x = spread(random, 0, 1.1 * d);
  capture.shift_y = spread(random, 0, 1.1 * d);
  capture.turn = spread(random, 0, 0.03 * d);
  capture.zoom = spread(random, 1, 0.025 * d);
}

void draw_expression(double d, Random& random, Expression& expression) {
  const auto scale = static_cast<float>(std::min(d, 1.5));
  expression.smile = std::clamp(spread(random, 0.2, 0.5) * scale, -1.0F, 1.0F);
  if (random.chance(0.35)) expression.mouth_open = between(random, 1, 8) * scale;
  expression.lips_pressed = random.chance(0.2) ? between(random, 0, 0.4) * scale : 0.0F;
  expression.brows_up = spread(random, 0, 1.3) * scale;
  expression.frown = random.chance(0.25) ? between(random, 0, 0.8) * scale : 0.0F;
  expression.lids = 1 + std::clamp(spread(random, -0.05, 0.15), -0.5F, 0.25F) * scale;
  if (random.chance(0.05 * std::min(d, 2.0))) expression.lids = between(random, 0, 0.3);
  expression.gaze_t = spread(random, 0, 1.2) * scale;
  expression.gaze_y = spread(random, 0, 0.5) * scale;
}

void draw_lighting(double d, Random& random, Lighting& lighting) {
  const auto scale = static_cast<float>(std::min(d, 1.4));
  const Vec3 key =
      towards(between(random, -1.5, 1.5) * scale, between(random, -0.3, 1.4) * scale, 1);
  const float strength = between(random, 0.5, 0.5 + 0.9 * scale);
  // From a lamp's orange to a shaded sky's blue.
  const float warmth = spread(random, 0, 0.2) * scale;
  lighting.lights[0] = {key, Vec3{1 + warmth, 1, 1 - warmth} * strength};
  const float other = spread(random, 0, 0.3) * scale;
  lighting.lights[1] = {towards(between(random, -2, 2), between(random, -0.5, 1), 0.5F),
                        Vec3{1 + other, 1, 1 - other} * between(random, 0, 0.5 * scale)};
  const float ambient = between(random, 0.55 - 0.33 * std::min(scale, 1.2F), 0.65);
  lighting.sky = Vec3{1 - warmth * 0.3F, 1, 1 + warmth * 0.3F} * ambient;
  lighting.ground = lighting.sky * between(random, 0.5, 1);
  lighting.gloss = between(random, 0.02, 0.16);
}

void draw_wear(const FaceIdentity& face, double d, Random& random, Wear& wear) {
  const double often = std::min(d, 2.0);
  const double glasses = face.wears_glasses ? 0.7 : 0.1 * often;
  if (random.chance(glasses)) {
    wear.glasses =
        random.chance(0.25 * std::min(d, 1.5)) ? Wear::Glasses::dark : Wear::Glasses::frame;
  }
  wear.lens_width = between(random, 11, 14);
  wear.lens_height = between(random, 7, 11.5);
  wear.frame = between(random, 0.5, 1.5);
  wear.frame_color = random.chance(0.7) ? Vec3{0.02F, 0.02F, 0.02F} : any_color(random, 0.02, 0.5);
  wear.hat = random.chance(0.1 * often);
  wear.hat_line = between(random, -34, -20);
  wear.hat_color = any_color(random, 0.01, 0.6);
  wear.hair_lift = spread(random, 0, 3 * d);
  wear.stubble = std::max(spread(random, 0, 0.12 * d), 0.0F);
  if (!random.chance(0.16 * often)) return;
  wear.cover = static_cast<Wear::Cover>(1 + random.integer(3));
  wear.cover_x = between(random, 10, 102);
  wear.cover_y = between(random, 20, 110);
  wear.cover_size = between(random, 5, 15);
  wear.cover_along = normalized({between(random, -1, 1), between(random, -1, 1), 0});
  wear.cover_color = any_color(random, 0.02, 0.8);
}

void draw_camera(double d, Random& random, Camera& camera) {
  const auto scale = static_cast<float>(std::min(d, 1.6));
  camera.exposure = std::clamp(1 + spread(random, 0.05, 0.28) * scale, 0.4F, 2.0F);
  const Vec3 gains = {spread(random, 0, 0.17), spread(random, 0, 0.07), spread(random, 0, 0.19)};
  camera.balance = Vec3{1, 1, 1} + gains * scale;
  camera.contrast = 1 + spread(random, 0, 0.17) * scale;
  camera.saturation = std::max(1 + spread(random, -0.1, 0.25) * scale, 0.2F);
  if (random.chance(0.1 * std::min(d, 1.5))) camera.saturation = 0;
  camera.distance = between(random, 260, 900);
  if (random.chance(0.45 * std::min(d, 2.0))) {
    // As many pictures between 28 and 40 pixels as between 80 and 112.
    const float size = between(random, 0.25, 1);
    camera.resolution = static_cast<int>(112 * size);
  }
  camera.soft = random.chance(0.6);
  camera.noise = between(random, 0.004, 0.008 + 0.024 * scale);
  if (random.chance(0.4 * std::min(d, 2.0))) {
    camera.quality = 2 + static_cast<int>(random.integer(9));
  }
  if (random.chance(0.12 * std::min(d, 2.0))) camera.motion = between(random, 1, 5);
  camera.motion_upright = random.chance(0.3);
}

}  // namespace

Capture draw_snapshot(const FaceIdentity& face, double difficulty, Random random) {
  Capture capture;
  capture.salt = static_cast<std::uint32_t>(random.bits());
  draw_pose(difficulty, random, capture);
  draw_expression(difficulty, random, capture.expression);
  draw_lighting(difficulty, random, capture.lighting);
  draw_wear(face, difficulty, random, capture.wear);
  draw_camera(difficulty, random, capture.camera);
  capture.background = any_color(random, 0.01, 0.8);
  capture.background_shade = any_color(random, 0.01, 0.6);
  return capture;
}

Capture draw_mugshot(const FaceIdentity& face, Random random) {
  Capture capture = draw_snapshot(face, 0.25, random);
  capture.wear.hat = false;
  capture.wear.cover = Wear::Cover::none;
  if (capture.wear.glasses == Wear::Glasses::dark) capture.wear.glasses = Wear::Glasses::frame;
  capture.camera.resolution = 112;
  capture.camera.quality = 0;
  capture.camera.motion = 0;
  capture.camera.saturation = 1;
  capture.expression.lids = std::max(capture.expression.lids, 0.9F);
  return capture;
}

Capture draw_surveillance(const FaceIdentity& face, int camera, int distance, Random random) {
  Capture capture = draw_snapshot(face, 0.6, Random(random.bits()));
  Wear& wear = capture.wear;
  wear.cover = Wear::Cover::none;
  if (wear.glasses == Wear::Glasses::dark) wear.glasses = Wear::Glasses::frame;
  // The nearer, the more the camera looks down on the head.
  const float steeper[] = {0.05F, 0.12F, 0.25F};
  capture.pitch += steeper[distance - 1];
  Camera& optics = capture.camera;
  const float middle[] = {13, 24, 44};
  const float sharpness[] = {1, 0.9F, 1.05F, 0.95F, 0.85F};
  optics.resolution =
      static_cast<int>(middle[distance - 1] * sharpness[camera - 1] * between(random, 0.9, 1.1));
  // What one camera does to all its pictures.
  const Vec3 balances[] = {
      {1, 1, 1}, {1.12F, 1, 0.85F}, {0.9F, 1, 1.15F}, {1.05F, 1.05F, 0.9F}, {0.95F, 0.95F, 1.05F}};
  const float noises[] = {0.015F, 0.025F, 0.02F, 0.03F, 0.035F};
  const float contrasts[] = {1, 0.9F, 1.1F, 0.85F, 0.95F};
  optics.balance = optics.balance * balances[camera - 1];
  optics.noise = noises[camera - 1] * between(random, 0.8, 1.2);
  optics.contrast *= contrasts[camera - 1];
  optics.quality = 2 + camera % 3;
  optics.motion = 0;
  optics.soft = true;
  return capture;
}

}  // namespace facet::synth
