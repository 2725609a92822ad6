#include <algorithm>

#include "training/synth/face_texture.h"

namespace facet::synth {
namespace {

/// The curves of an eye's lids over q, the place between the corners from -1 (at the nose) to 1.
struct Lids {
  float upper;
  float lower;
};

Lids lids_at(const EyeShape& eye, float open, float smile, float q) {
  const float arc = std::max(1 - q * q, 0.0F);
  // Raised cheeks push up the lower lid.
  const float lower = eye.lower * arc * (1 - 0.35F * std::max(smile, 0.0F));
  const float height = eye.upper * arc * (1 + eye.skew * q);
  return {mix(lower - 0.3F, -height, open), lower};
}

}  // namespace

void paint_eye(const FaceIdentity& face, const Capture& capture, int side, Canvas& canvas) {
  const EyeShape& eye = face.eyes[static_cast<std::size_t>(side)];
  const Expression& expression = capture.expression;
  const float sign = side == 0 ? -1.0F : 1.0F;
  const float x = sign * eye.t;
  const float open = unit(expression.lids);
  const Vec3 socket = {0.72F, 0.62F, 0.6F};
  shade_ellipse(canvas, x, eye.y - 1, eye.half_width * 1.5F, 9, socket, 0.45F);
  shade_ellipse(canvas, x - sign * eye.half_width * 1.1F, eye.y + 0.5F, 4, 5, socket, 0.5F);
  shade_ellipse(canvas, x, eye.y + eye.lower + 4, eye.half_width * 1.1F, 3.2F, {0.6F, 0.5F, 0.52F},
                eye.bag);

  const Vec3 white = {0.72F, 0.69F, 0.67F};
  const Vec3 dark = mix(face.hair_color, {0.01F, 0.008F, 0.008F}, 0.75F);
  const float iris_x = x + expression.gaze_t;
  const float iris_y = eye.y - 0.4F + expression.gaze_y;
  const Vec3 light = capture.lighting.lights[0].direction;
  canvas.visit(
      box_around(x, eye.y, eye.half_width + 3, eye.upper + 8), [&](float t, float y, Vec3& pixel) {
        const float s = sign * t - eye.t;
        const float q = s / eye.half_width;
        const float lifted = y - eye.y + eye.tilt * s;
        const Lids lids = lids_at(eye, open, expression.smile, q);
        const bool between = q > -1 && q < 1;
        if (between) {
          const float inside = std::min(lifted - lids.upper, lids.lower - lifted);
          const float cover = canvas.cover(inside);
          if (cover > 0) {
            // The ball: white, darker under the upper lid and at the corners.
            Vec3 color =
                white * (1 - 0.35F * square(q)) * mix(0.5F, 1.0F, unit((lifted - lids.upper) / 2));
            const float d = root(square(t - iris_x) + square(y - iris_y));
            const float ring = 1 - 0.5F * smooth_step(eye.iris * 0.7F, eye.iris, d);
            const float rays = 0.75F + 0.5F * grid_value(face.salt, whole_below((t - iris_x) * 2),
                                                         whole_below((y - iris_y) * 2));
            blend(color, face.iris_color * (ring * rays), canvas.cover(eye.iris - d));
            blend(color, {0.005F, 0.005F, 0.005F}, canvas.cover(1.35F - d));
            const float glint =
                root(square(t - iris_x - 1.6F * light.x) + square(y - iris_y - 1.6F * light.y));
            blend(color, {0.95F, 0.95F, 0.95F}, 0.9F * canvas.cover(0.75F - glint));
            blend(pixel, color, cover);
          }
          blend(pixel, face.skin * Vec3{0.55F, 0.35F, 0.33F},
                0.4F * bump(square((lifted - lids.lower) / 0.9F)));
        }
        if (q < -1.05F || q > 1.18F) return;
        // Lashes: thicker outwards, beyond the corner a little.
        const float thick = 0.75F + 0.45F * unit(q);
        blend(pixel, dark,
              0.9F * bump(square((lifted - lids.upper + 0.2F) / thick)) * unit((1.18F - q) * 6) *
                  unit((q + 1.05F) * 6));
        if (eye.crease > 0.7F && q < 1.1F) {
          const float fold = mix(-eye.upper * std::max(1 - 0.8F * q * q, 0.0F), lids.upper, 0.35F) -
                             eye.crease * (0.75F + 0.25F * q);
          tint(pixel, {0.42F, 0.32F, 0.3F},
               0.7F * bump(square((lifted - fold) / 0.85F)) * unit((1.1F - magnitude(q)) * 4));
        }
      });
}

void paint_mouth(const FaceIdentity& face, const Expression& expression, Canvas& canvas) {
  const MouthShape& mouth = face.mouth;
  const MouthPose pose = mouth_pose(mouth, expression);
  const float shown = 1 - expression.lips_pressed;
  const Vec3 lip =
      face.skin * mix(Vec3{0.75F, 0.52F, 0.5F}, Vec3{0.72F, 0.3F, 0.32F}, mouth.redness);
  const Vec3 inside = {0.05F, 0.012F, 0.012F};
  const Vec3 teeth = {0.62F, 0.58F, 0.5F};
  shade_ellipse(canvas, mouth.off_centre, pose.y + mouth.lower_lip + pose.open * 0.6F + 2.5F,
                pose.half_width * 0.7F, 2.6F, {0.6F, 0.5F, 0.48F}, 0.55F);
  // The groove from the nose to the lip.
  shade_ellipse(canvas, 0, mix(face.nose.tip + 5, pose.y - mouth.upper_lip, 0.55F), 1.7F, 5,
                {0.7F, 0.6F, 0.58F}, 0.45F);
  canvas.visit(box_around(mouth.off_centre, pose.y, pose.half_width + 2, 16), [&](float t, float y,
                                                                                  Vec3& pixel) {
    const float q = (t - mouth.off_centre) / pose.half_width;
    const float arc = 1 - q * q;
    if (arc < -0.1F) return;
    const float rim = std::max(arc, 0.0F);
    const float middle = pose.y - pose.corners * q * q;
    const float gap = 0.5F * pose.open * root(rim);
    const float peaks = bump(square((magnitude(q) - 0.24F) / 0.3F));
    const float top =
        middle - gap -
        shown * (mouth.upper_lip * rim + mouth.bow * (peaks - bump(square(q / 0.2F)) * 0.6F) * rim);
    const float bottom =
        middle + gap +
        shown * mouth.lower_lip * (1 - square(q * q)) * mix(rim, 1, 0.4F) * (rim > 0 ? 1.0F : 0.0F);
    const float lips = std::min(y - top, bottom - y);
    if (arc > 0) {
      // The upper lip lies in shade, the lower one catches light.
      const float shade =
          y < middle ? 0.72F : 0.95F + 0.35F * bump(square((y - bottom + 2) / 2.5F));
      blend(pixel, lip * shade, 0.92F * canvas.cover(lips * 0.6F));
      if (gap > 0.3F) {
        const float hole = gap - magnitude(y - middle);
        const float tooth_line = middle - gap + 1.1F * gap;
        const Vec3 color =
            y < tooth_line && magnitude(q) < 0.85F ? teeth * (1 - 0.5F * q * q) : inside;
        blend(pixel, color, canvas.cover(hole));
      }
    }
    const float line = magnitude(magnitude(y - middle) - gap);
    blend(pixel, face.skin * Vec3{0.16F, 0.07F, 0.07F},
          0.85F * bump(square(line / 0.95F)) * unit((arc + 0.1F) * 5));
  });
}

}  // namespace facet::synth
