#include "training/synth/face_texture.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace facet::synth {
namespace {

constexpr float kReach = 60;  // |t|
constexpr float kTop = -57;   // y
constexpr float kBottom = 68;
constexpr float kScale = 1.4F;

/// A soft dark line that starts at (t, y), runs along a direction and bends to its left.
void paint_line(const Wrinkle& line, Canvas& canvas, float strength) {
  const float end_t = line.t + line.length * line.along.x;
  const float end_y = line.y + line.length * line.along.y;
  const float beside = magnitude(line.bend) + 1.5F;
  canvas.visit({std::min(line.t, end_t) - beside, std::min(line.y, end_y) - beside,
                std::max(line.t, end_t) + beside, std::max(line.y, end_y) + beside},
               [&](float t, float y, Vec3& pixel) {
                 const float dt = t - line.t;
                 const float dy = y - line.y;
                 const float along = (dt * line.along.x + dy * line.along.y) / line.length;
                 if (along < 0 || along > 1) return;
                 const float ends = 4 * along * (1 - along);
                 const float across = dy * line.along.x - dt * line.along.y - line.bend * ends;
                 tint(pixel, {0.45F, 0.36F, 0.34F}, strength * ends * bump(square(across / 1.3F)));
               });
}

}  // namespace

Canvas paint_face(const FaceIdentity& face, const Capture& capture, const Head& head) {
  Canvas canvas(static_cast<int>(2 * kReach * kScale), static_cast<int>((kBottom - kTop) * kScale),
                -kReach, kTop, kScale, face.skin);
  paint_skin(face, capture, canvas);
  paint_nose(face, canvas);
  for (int side = 0; side < 2; ++side) paint_eye(face, capture, side, canvas);
  paint_mouth(face, capture.expression, canvas);
  paint_beard(face, capture.wear, canvas);
  for (int side = 0; side < 2; ++side) paint_brow(face, capture.expression, side, canvas);
  paint_hair(face, capture.wear, head, canvas);
  return canvas;
}

void paint_skin(const FaceIdentity& face, const Capture& capture, Canvas& canvas) {
  const Expression& expression = capture.expression;
  for (const float side : {-1.0F, 1.0F}) {
    shade_ellipse(canvas, side * 24, 22, 16, 14, {1.06F, 0.8F, 0.78F}, 0.35F);
  }
  for (const Mark& mark : face.marks) {
    shade_ellipse(canvas, mark.t, mark.y, mark.half_width, mark.half_height, mark.factor,
                  mark.strength);
  }
  for (const Wrinkle& wrinkle : face.wrinkles) {
    const bool forehead = wrinkle.y < -15;
    const float moved =
        forehead ? std::max(expression.brows_up, 0.0F) * 0.15F : expression.frown * 0.3F;
    paint_line(wrinkle, canvas, unit(wrinkle.strength + moved));
  }
  // From the nose's wings to the mouth's corners, deeper in a smile.
  const MouthPose mouth = mouth_pose(face.mouth, expression);
  const float folds = unit(face.folds + 0.35F * std::max(expression.smile, 0.0F));
  for (const float side : {-1.0F, 1.0F}) {
    const float t = side * (face.nose.wings + 1.5F);
    const float y = face.nose.tip - 1;
    const Vec3 way = {side * (mouth.half_width + 3.5F) - t, mouth.y + 2 - y, 0};
    paint_line({t, y, root(dot(way, way)), normalized(way), side * -2.2F, folds}, canvas, folds);
  }
  if (expression.frown > 0.2F) {
    for (const float side : {-1.0F, 1.0F}) {
      paint_line({side * 3, -15, 8, {0, 1, 0}, side * 0.6F, 0}, canvas, expression.frown * 0.5F);
    }
  }
}

void paint_nose(const FaceIdentity& face, Canvas& canvas) {
  const NoseShape& nose = face.nose;
  const float base = nose.tip + 4.5F;
  shade_ellipse(canvas, 0, base + 2, nose.wings * 1.2F, 4.5F, {0.55F, 0.45F, 0.43F}, 0.55F);
  for (const float side : {-1.0F, 1.0F}) {
    // The crease behind the wing, then the nostril.
    shade_ellipse(canvas, side * nose.wings, base - 2, 2, 4.5F, {0.45F, 0.34F, 0.32F}, 0.6F);
    shade_ellipse(canvas, side * (nose.bridge_width + 2), 8, 3.5F, 13, {0.7F, 0.6F, 0.58F}, 0.3F);
    fill_ellipse(canvas, side * nose.wings * 0.47F, base, 2.3F * nose.nostrils,
                 1.25F * nose.nostrils, face.skin * Vec3{0.09F, 0.06F, 0.06F}, 0.85F);
  }
}

void paint_brow(const FaceIdentity& face, const Expression& expression, int side, Canvas& canvas) {
  const BrowShape& brow = face.brows[static_cast<std::size_t>(side)];
  const float sign = side == 0 ? -1.0F : 1.0F;
  const float centre_y = brow.y - expression.brows_up + 1.5F * expression.frown;
  const float slope = brow.slope + 0.12F * expression.frown;
  canvas.visit(box_around(sign * brow.t, centre_y, brow.half_length + 2, 9), [&](float t, float y,
                                                                                 Vec3& pixel) {
    const float s = sign * t - brow.t;  // positive outwards
    const float q = s / brow.half_length;
    if (q < -1.05F || q > 1.05F) return;
    const float from_peak = q - brow.peak;
    const float middle = centre_y - slope * s - brow.arch * (0.5F - from_peak * from_peak);
    const float thick = brow.thickness * (q > 0 ? 1 - 0.7F * q : 1 - 0.15F * q * q);
    const float edge = canvas.cover((thick * 0.5F - magnitude(y - middle)) * 0.7F);
    const float hairs =
        grid_value(face.salt, whole_below((t * 2 + sign * y) * 0.8F), whole_below(y * 0.4F));
    const float ends = unit((1.05F - magnitude(q)) * 5);
    blend(pixel, face.hair_color * 0.8F, brow.density * edge * ends * (0.6F + 0.4F * hairs));
  });
}

void paint_beard(const FaceIdentity& face, const Wear& wear, Canvas& canvas) {
  const auto [chin, cheeks, lip] = face.hair.beard;
  if (chin + cheeks + lip == 0) return;
  const MouthShape& mouth = face.mouth;
  const float top = face.nose.tip + 6;
  canvas.visit({-50, 4, 50, 68}, [&](float t, float y, Vec3& pixel) {
    const float away = magnitude(t);
    float density = 0;
    if (y > top) {
      const float on_lip = smooth_step(mouth.half_width + 6, mouth.half_width - 1, away) *
                           smooth_step(mouth.y, mouth.y - 3, y);
      density = lip * on_lip;
      density = std::max(
          density, chin * smooth_step(22, 15, away) * smooth_step(mouth.y + 6, mouth.y + 10, y));
    }
    // Along the jaw: lower in the middle.
    const float jaw = mouth.y + 3 - 0.022F * square(away) * (away > 18 ? 1.0F : 0.6F);
    density = std::max(density, cheeks * smooth_step(jaw, jaw + 9, y) * smooth_step(12, 20, away));
    if (density <= 0) return;
    const float lips = square(t / (mouth.half_width * 0.95F)) + square((y - mouth.y) / 5.5F);
    if (lips < 1) return;
    const float grain = grid_value(face.salt ^ 5U, whole_below(t * 1.7F), whole_below(y * 1.1F));
    blend(pixel, face.hair_color, unit(density + wear.stubble) * (0.45F + 0.55F * grain));
  });
}

void paint_hair(const FaceIdentity& face, const Wear& wear, const Head& head, Canvas& canvas) {
  const HairShape& hair = face.hair;
  if (!hair.bald) {
    // What depends on t alone, by the canvas's columns.
    struct Lock {
      float line;
      float strand;
    };
    std::vector<Lock> columns(static_cast<std::size_t>(canvas.width()));
    float lowest = kTop;
    for (int i = 0; i < canvas.width(); ++i) {
      const float t = (static_cast<float>(i) + 0.5F) / kScale - kReach;
      const float locks = line_noise(face.salt ^ 1U, t * 0.35F) - 0.5F;
      const float fine = line_noise(face.salt ^ 2U, t * hair.strand * 1.5F) - 0.5F;
      const float line = head.hair_line(t) + hair.fringe_wave * (2.5F * locks + 1.5F * fine);
      columns[static_cast<std::size_t>(i)] = {line, line_noise(face.salt ^ 3U, t * hair.strand)};
      lowest = std::max(lowest, line);
    }
    canvas.visit({-kReach, kTop, kReach, lowest + 1}, [&](float t, float y, Vec3& pixel) {
      const Lock& lock = columns[static_cast<std::size_t>(canvas.column(t) + 0.5F)];
      if (y > lock.line + 1) return;
      float shine = lock.strand;
      if (hair.curl > 0.3F) {
        const float fine = 0.25F * hair.curl;
        shine = 0.4F * shine +
                0.6F * smooth_noise(face.salt ^ 4U, (t + 0.3F * y) * fine, (y - 0.2F * t) * fine);
      }
      blend(pixel, face.hair_color * (0.45F + 1.1F * shine),
            smooth_step(lock.line + 1, lock.line - 1.5F, y));
    });
  }
  if (wear.hat) {
    canvas.visit({-kReach, kTop, kReach, wear.hat_line + 2}, [&](float t, float y, Vec3& pixel) {
      const float edge = wear.hat_line + 0.006F * square(t);
      const float cover = canvas.cover(edge - y);
      const float band = y > edge - 7 ? 0.7F : 1.0F;
      const float knit =
          0.85F + 0.3F * grid_value(face.salt ^ 6U, whole_below(t * 0.7F), whole_below(y * 0.7F));
      blend(pixel, wear.hat_color * (band * knit), cover);
      if (y > edge) tint(pixel, {0.55F, 0.55F, 0.55F}, smooth_step(edge + 3, edge, y));
    });
  }
}

}  // namespace facet::synth
