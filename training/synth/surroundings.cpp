#include <algorithm>
#include <cstddef>

#include "training/synth/scene.h"

namespace facet::synth {
namespace {

constexpr float kEarAngle = 1.66F;  // radians from the front

/// Distance inside a capsule: a line from `from` along `along` of half length and radius.
float inside_capsule(Vec3 p, Vec3 from, Vec3 along, float half_length, float radius) {
  const Vec3 d = p - from;
  const float t = std::clamp(d.x * along.x + d.y * along.y, -half_length, half_length);
  return radius - root(square(d.x - t * along.x) + square(d.y - t * along.y));
}

void paint_ear(const FaceIdentity& face, const Capture& capture, const View& view, const Head& head,
               float side, Scene& scene) {
  const Turn around = turn(static_cast<double>(side * kEarAngle));
  Vec3 centre = head.point(side * kEarAngle * kAround, face.ear_y, around);
  centre.x = side * (head.half_width(face.ear_y) + 0.45F * face.ear_width);
  const Vec3 light = light_on(capture.lighting, view.turned(normalized({side * 0.7F, 0, 0.7F})));
  const Vec3 flesh = face.skin * Vec3{1, 0.85F, 0.82F} * light;
  const Plane plane(view, centre.z, centre);
  scene.visit_behind(
      plane.box(face.ear_width + 1, face.ear_height + 1), [&](float px, float py, Vec3& pixel) {
        const Vec3 p = plane.at(px, py);
        const float d = root(square(p.x / face.ear_width) + square(p.y / face.ear_height));
        const float rim = 1 - 0.45F * bump(square((d - 0.55F) / 0.3F));
        blend(pixel, flesh * rim, scene.cover((1 - d) * face.ear_width * view.pixels_per_unit()));
      });
}

void paint_glasses(const FaceIdentity& face, const Capture& capture, const View& view,
                   const Head& head, Scene& scene) {
  const Wear& wear = capture.wear;
  const float z = std::max(head.point(0, 0).z, head.point(face.eyes[0].t, 3).z) + 3;
  const float middle = 0.5F * (face.eyes[0].t + face.eyes[1].t) * 0.97F;
  const Plane plane(view, z, {0, 2, 0});
  const float unit_size = view.pixels_per_unit();
  const Vec3 light = light_on(capture.lighting, view.turned({0, 0, 1}));
  const Vec3 frame = wear.frame_color * light;
  const bool dark = wear.glasses == Wear::Glasses::dark;
  scene.visit(
      plane.box(middle + wear.lens_width + 26, wear.lens_height + 3),
      [&](float px, float py, Vec3& pixel) {
        const Vec3 p = plane.at(px, py);
        const float away = magnitude(p.x) - middle;
        // A superellipse: between a circle and a rectangle.
        const float u = square(away / wear.lens_width);
        const float v = square(p.y / wear.lens_height);
        const float d = (1 - root(root(u * u + v * v))) * wear.lens_height;
        if (dark) {
          blend(pixel, Vec3{0.02F, 0.02F, 0.025F} * light, 0.93F * scene.cover(d * unit_size));
        } else {
          blend(pixel, light * 0.5F, 0.05F * scene.cover(d * unit_size));
        }
        blend(pixel, frame, scene.cover((wear.frame - magnitude(d)) * unit_size));
        const float bridge = middle - wear.lens_width;
        const bool beside = magnitude(p.x) < bridge || away > wear.lens_width;
        const float reach = magnitude(p.x) < head.half_width(0) ? 1.0F : 0.0F;
        if (beside)
          blend(pixel, frame, reach * scene.cover((wear.frame - magnitude(p.y + 3)) * unit_size));
      });
}

void paint_cover(const FaceIdentity& face, const Capture& capture, Scene& scene) {
  const Wear& wear = capture.wear;
  const float ratio = static_cast<float>(scene.width()) / 112;
  const Vec3 place = Vec3{wear.cover_x, wear.cover_y, 0} * ratio;
  const float size = wear.cover_size * ratio;
  const Vec3 along = wear.cover_along;
  const Vec3 light = light_on(capture.lighting, {0, 0, 1});
  if (wear.cover == Wear::Cover::bar) {
    scene.visit(scene.all(), [&](float x, float y, Vec3& pixel) {
      const float d = inside_capsule({x, y, 0}, place, along, 200, size * 0.6F);
      blend(pixel, wear.cover_color * light, scene.cover(d));
    });
  } else if (wear.cover == Wear::Cover::patch) {
    const float side = size * 1.5F;
    scene.visit(box_around(place.x, place.y, side, side), [&](float x, float y, Vec3& pixel) {
      const int cell_x = whole_below((x - place.x) * 0.25F);
      const int cell_y = whole_below((y - place.y) * 0.25F);
      const auto channel = [&](std::uint32_t c) {
        return grid_value(capture.salt + c, cell_x, cell_y);
      };
      pixel = Vec3{square(channel(0)), square(channel(1)), square(channel(2))};
    });
  } else {
    // A hand: four fingers from a side or from below.
    const Vec3 across = {-along.y, along.x, 0};
    const float radius = size * 0.3F;
    for (int finger = 0; finger < 4; ++finger) {
      const float offset = (static_cast<float>(finger) - 1.5F) * radius * 1.9F;
      const float back = size * (finger == 1 || finger == 2 ? 3.4F : 4.0F);
      const Vec3 from = place + across * offset + along * back;
      scene.visit(scene.all(), [&](float x, float y, Vec3& pixel) {
        const float d = inside_capsule({x, y, 0}, from, along, size * 3, radius);
        if (d < -1) return;
        const float round = root(unit(d / radius));
        blend(pixel, face.skin * light * (0.5F + 0.5F * round), scene.cover(d));
      });
    }
  }
}

}  // namespace

void paint_background(const Capture& capture, Scene& scene) {
  const std::uint32_t salt = capture.salt;
  const float scale = 1.0F / static_cast<float>(scene.width());
  const float size = 2 + 6 * grid_value(salt, 1, 0);
  const float slant = grid_value(salt, 2, 0) - 0.5F;
  const bool stripes = grid_value(salt, 3, 0) < 0.3F;
  const Vec3 light = mix(capture.lighting.sky, {0.7F, 0.7F, 0.7F}, 0.5F);
  scene.visit_behind(scene.all(), [&](float x, float y, Vec3& pixel) {
    const float u = x * scale;
    const float v = y * scale;
    const float share = stripes ? grid_value(salt ^ 7U, whole_below((u + slant * v) * size * 2), 0)
                                : smooth_noise(salt ^ 8U, (u + slant * v) * size, v * size);
    pixel = mix(capture.background, capture.background_shade, share) * light * (1.2F - 0.4F * v);
  });
  for (int i = 0; i < 3; ++i) {  // furniture, windows, people far away
    const auto number = [&](int k) { return grid_value(salt ^ 9U, i, k); };
    if (number(0) < 0.35F) continue;
    const Vec3 color = Vec3{number(1), number(2), number(3)} * light * number(9);
    const float side = static_cast<float>(scene.width());
    const float half_width = (0.05F + 0.15F * number(4)) * side;
    const float half_height = (0.05F + 0.4F * number(5)) * side;
    const Box box = box_around(number(6) * side, number(7) * side, half_width, half_height);
    if (number(8) < 0.5F) {
      scene.visit_behind(box, [&](float x, float y, Vec3& pixel) {
        const float d = square((x - number(6) * side) / half_width) +
                        square((y - number(7) * side) / half_height);
        if (d < 1) pixel = color;
      });
    } else {
      scene.visit_behind(box, [&](float, float, Vec3& pixel) { pixel = color; });
    }
  }
}

void paint_behind(const FaceIdentity& face, const Capture& capture, const View& view,
                  const Head& head, Scene& scene) {
  const HairShape& hair = face.hair;
  const float unit_size = view.pixels_per_unit();
  const float half = face.head.half_width;
  const Vec3 light = light_on(capture.lighting, view.turned({0, 0, 1})) * 0.7F;
  if (!hair.bald) {
    const float width = half + hair.volume + 0.12F * std::max(hair.length, 0.0F);
    const Plane plane(view, -14, {0, -10, 0});
    scene.visit_behind(plane.box(width + 4, 130), [&](float px, float py, Vec3& pixel) {
      const Vec3 p = plane.at(px, py);
      const float wave = hair.curl * 3 * (line_noise(face.salt ^ 10U, p.y * 0.2F) - 0.5F);
      // An ellipse above, falling straight down to the length.
      const float up = p.y < 0 ? p.y / (-face.head.crown - 10 + hair.volume) : 0.0F;
      const float reach = width * (1 + 0.002F * std::max(p.y, 0.0F)) + wave;
      const float d = (1 - root(square(p.x / reach) + square(up))) * width;
      const float below = hair.length + 10 - p.y;
      const float strand = line_noise(face.salt ^ 11U, p.x * hair.strand + 0.05F * p.y);
      blend(pixel, face.hair_color * light * (0.4F + 0.9F * strand),
            scene.cover(std::min(d, below) * unit_size));
    });
  }
  const Plane neck(view, -4, {0, 75, 0});
  const Vec3 throat = face.skin * light;
  scene.visit_behind(neck.box(40, 45), [&](float px, float py, Vec3& pixel) {
    const Vec3 p = neck.at(px, py);
    const float d = half * 0.62F + 0.004F * square(p.y + 20) - magnitude(p.x);
    blend(pixel, throat * (0.75F + 0.25F * smooth_step(0, 10, d)), scene.cover(d * unit_size));
  });
  if (hair.length > 15) return;  // covered
  for (const float side : {-1.0F, 1.0F}) paint_ear(face, capture, view, head, side, scene);
}

void paint_in_front(const FaceIdentity& face, const Capture& capture, const View& view,
                    const Head& head, Scene& scene) {
  if (capture.wear.glasses != Wear::Glasses::none) paint_glasses(face, capture, view, head, scene);
  if (capture.wear.cover != Wear::Cover::none) paint_cover(face, capture, scene);
}

}  // namespace facet::synth
