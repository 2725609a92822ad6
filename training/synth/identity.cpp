#include "training/synth/identity.h"

#include <algorithm>

namespace facet::synth {
namespace {

/// A number around `mean`; the tails beyond 2.2 deviations are folded onto their ends.
float spread(Random& random, double mean, double deviation) {
  return static_cast<float>(mean + deviation * std::clamp(random.normal(), -2.2, 2.2));
}

float between(Random& random, double low, double high) {
  return static_cast<float>(random.uniform(low, high));
}

/// A colour as a screen shows it, in linear light.
Vec3 linear(float red, float green, float blue) {
  return {square(red), square(green), square(blue)};
}

HeadShape draw_head(Random& random) {
  HeadShape head;
  head.half_width = spread(random, 41, 2.3);
  head.chin = spread(random, 65, 3.2);
  head.crown = spread(random, -64, 3);
  head.square_jaw = unit(spread(random, 0.4, 0.3));
  head.taper = unit(spread(random, 0.25, 0.2));
  head.cheekbones = spread(random, 0.02, 0.03);
  head.flatness = spread(random, 1, 0.09);
  head.forehead = spread(random, 0.16, 0.07);
  head.chin_out = spread(random, 3, 2.5);
  head.cheeks = spread(random, 1.5, 1.6);
  head.brow_ridge = spread(random, 2, 1.2);
  head.sockets = spread(random, 3, 1);
  return head;
}

std::array<EyeShape, 2> draw_eyes(Random& random) {
  EyeShape eye;
  eye.t = spread(random, 18.2, 1.3);
  eye.half_width = spread(random, 8.4, 0.8);
  eye.upper = spread(random, 3.6, 0.7);
  eye.lower = spread(random, 2.2, 0.5);
  eye.tilt = spread(random, 0.05, 0.08);
  eye.skew = spread(random, 0, 0.28);
  eye.crease = std::max(spread(random, 1.7, 1), 0.0F);
  eye.bag = std::max(spread(random, 0.12, 0.14), 0.0F);
  eye.iris = spread(random, 3.5, 0.22);
  std::array<EyeShape, 2> eyes = {eye, eye};
  for (EyeShape& one : eyes) {
    one.t += spread(random, 0, 0.3);
    one.y += spread(random, 0, 0.4);
    one.upper = std::max(one.upper + spread(random, 0, 0.2), 1.4F);
    one.tilt += spread(random, 0, 0.015);
    one.crease += spread(random, 0, 0.2);
  }
  return eyes;
}

std::array<BrowShape, 2> draw_brows(Random& random) {
  BrowShape brow;
  brow.t = spread(random, 18.5, 1.2);
  brow.y = spread(random, -10.5, 1.6);
  brow.half_length = spread(random, 11, 1.3);
  brow.thickness = std::max(spread(random, 2.5, 0.8), 0.9F);
  brow.slope = spread(random, 0.05, 0.09);
  brow.arch = spread(random, 2, 1.2);
  brow.peak = spread(random, 0.2, 0.2);
  brow.density = std::clamp(spread(random, 0.75, 0.2), 0.25F, 1.0F);
  std::array<BrowShape, 2> brows = {brow, brow};
  for (BrowShape& one : brows) {
    one.y += spread(random, 0, 0.4);
    one.slope += spread(random, 0, 0.02);
    one.arch += spread(random, 0, 0.3);
  }
  return brows;
}

NoseShape draw_nose(Random& random) {
  NoseShape nose;
  nose.bridge = spread(random, -3, 2);
  nose.tip = spread(random, 20, 2);
  nose.height = spread(random, 14, 2.2);
  nose.bridge_height = spread(random, 4.5, 1.5);
  nose.hook = spread(random, 0, 1.3);
  nose.bridge_width = spread(random, 5.2, 0.9);
  nose.wings = spread(random, 9.6, 1.3);
  nose.nostrils = spread(random, 1, 0.2);
  nose.bend = spread(random, 0, 0.7);
  return nose;
}

MouthShape draw_mouth(Random& random) {
  MouthShape mouth;
  mouth.y = spread(random, 41, 2);
  mouth.half_width = spread(random, 17.4, 1.7);
  mouth.upper_lip = std::max(spread(random, 2.9, 0.9), 1.0F);
  mouth.lower_lip = std::max(spread(random, 4.1, 1), 1.6F);
  mouth.bow = std::max(spread(random, 1.1, 0.7), 0.0F);
  mouth.corners = spread(random, 0, 0.9);
  mouth.redness = unit(spread(random, 0.5, 0.2));
  mouth.fullness = spread(random, 2.6, 0.8);
  mouth.off_centre = spread(random, 0, 0.5);
  return mouth;
}

HairShape draw_hair(Random& random, bool bearded) {
  HairShape hair;
  hair.bald = random.chance(0.05);
  hair.line = spread(random, -37, 5);
  hair.temple = spread(random, 27, 3.5);
  hair.peak = std::max(spread(random, 0, 3), 0.0F);
  hair.part = random.chance(0.4) ? spread(random, 0, 0.22) : 0.0F;
  if (random.chance(0.25)) hair.line += between(random, 8, 18);  // a fringe
  hair.fringe_wave = std::max(spread(random, 1.5, 1.2), 0.0F);
  hair.side = spread(random, 45, 2.5);
  hair.sideburn = spread(random, 6, 7);
  hair.volume = std::max(spread(random, 4.5, 2.5), 0.5F);
  const bool longer = random.chance(bearded ? 0.1 : 0.5);
  hair.length = longer ? between(random, 20, 90) : -10.0F;
  if (longer) hair.sideburn = hair.length;
  hair.curl = random.chance(0.35) ? between(random, 0.5, 2.5) : between(random, 0, 0.4);
  hair.strand = between(random, 0.6, 1.4);
  if (bearded) {
    const float density = between(random, 0.15, 0.85);
    hair.beard = {density * between(random, 0.3, 1), density * between(random, 0, 1),
                  density * between(random, 0.2, 1)};
  }
  return hair;
}

void draw_marks(Random& random, Vec3 skin, FaceIdentity& face) {
  const Vec3 dark = {0.35F, 0.26F, 0.24F};
  const auto place = [&](double reach) {
    return std::pair(between(random, -reach, reach), between(random, -30, 58));
  };
  const std::int64_t moles = random.integer(5);
  for (std::int64_t i = 0; i < moles; ++i) {
    const auto [t, y] = place(36);
    const float size = between(random, 0.9, 1.9);
    face.marks.push_back(
        {t, y, size, size * between(random, 0.8, 1.2), dark, between(random, 0.5, 1)});
  }
  if (random.chance(0.3)) {
    const std::int64_t freckles = 12 + random.integer(40);
    const float strength = between(random, 0.15, 0.5) * unit(skin.x * 2);
    for (std::int64_t i = 0; i < freckles; ++i) {
      const float t = spread(random, 0, 15);
      const float y = spread(random, 14, 7);
      const float size = between(random, 0.5, 1.2);
      face.marks.push_back({t, y, size, size, {0.6F, 0.42F, 0.3F}, strength});
    }
  }
  const std::int64_t blotches = 3 + random.integer(5);  // a ruddy cheek, a shadow: large and weak
  for (std::int64_t i = 0; i < blotches; ++i) {
    const auto [t, y] = place(40);
    const Vec3 factor = random.chance(0.5) ? Vec3{1.05F, 0.72F, 0.7F} : Vec3{0.75F, 0.72F, 0.72F};
    face.marks.push_back(
        {t, y, between(random, 5, 16), between(random, 5, 14), factor, between(random, 0.1, 0.5)});
  }
}

void draw_wrinkles(Random& random, FaceIdentity& face) {
  const float age = unit(spread(random, 0.3, 0.35));
  face.folds = 0.05F + 0.5F * age * between(random, 0.4, 1);
  const auto add = [&](float t, float y, float length, float rise, float strength) {
    face.wrinkles.push_back(
        {t, y, length, normalized({1, rise, 0}), spread(random, 0, 1.2), strength});
  };
  if (age > 0.3F) {
    const std::int64_t lines = 1 + random.integer(4);
    for (std::int64_t i = 0; i < lines; ++i) {
      add(between(random, -26, -8), -20 - 5.0F * static_cast<float>(i) + between(random, -1, 1),
          between(random, 20, 40), spread(random, 0, 0.04), age * between(random, 0.2, 0.6));
    }
    for (const float side : {-1.0F, 1.0F}) {
      const std::int64_t feet = random.integer(4);
      for (std::int64_t i = 0; i < feet; ++i) {
        const float start = side < 0 ? between(random, -38, -35) : between(random, 28, 30);
        add(start, between(random, -3, 6), between(random, 5, 8), side * spread(random, 0, 0.4),
            age * between(random, 0.3, 0.7));
      }
    }
  }
  const std::int64_t frowns = random.integer(3);
  for (std::int64_t i = 0; i < frowns; ++i) {
    face.wrinkles.push_back({between(random, -4, 4), between(random, -14, -11),
                             between(random, 4, 8), normalized({spread(random, 0, 0.12), 1, 0}),
                             spread(random, 0, 0.3), between(random, 0.1, 0.5)});
  }
  if (random.chance(0.12)) {  // a scar
    face.wrinkles.push_back({between(random, -30, 28), between(random, -25, 45),
                             between(random, 6, 14),
                             normalized({between(random, -1, 1), between(random, 0.3, 1), 0}),
                             spread(random, 0, 0.8), between(random, 0.4, 0.8)});
  }
}

}  // namespace

FaceIdentity draw_identity(Random random) {
  FaceIdentity face;
  face.salt = static_cast<std::uint32_t>(random.bits());
  const bool bearded = random.chance(0.3);
  face.head = draw_head(random);
  face.eyes = draw_eyes(random);
  face.brows = draw_brows(random);
  face.nose = draw_nose(random);
  face.mouth = draw_mouth(random);
  face.hair = draw_hair(random, bearded);
  face.ear_height = spread(random, 13, 1.6);
  face.ear_width = spread(random, 4.8, 1.1);
  face.ear_y = spread(random, 8, 2);

  // Most people's colours are alike: a picture's light changes them by more.
  const float dark = std::clamp(spread(random, 0.3, 0.2), 0.0F, 1.0F);
  const Vec3 fair = linear(0.90F, 0.74F, 0.65F);
  const Vec3 deep = linear(0.50F, 0.34F, 0.26F);
  face.skin = mix(fair, deep, dark) * Vec3{spread(random, 1, 0.03), 1, spread(random, 1, 0.05)};
  const float grey = random.chance(0.12) ? between(random, 0.4, 1) : 0.0F;
  const float blond = random.chance(0.25) ? between(random, 0.3, 1) : between(random, 0, 0.2);
  const Vec3 natural = mix(linear(0.17F, 0.13F, 0.11F), linear(0.62F, 0.47F, 0.30F), blond);
  face.hair_color = mix(natural, linear(0.62F, 0.62F, 0.63F), grey);
  const float light_eyes = random.chance(0.35) ? between(random, 0.4, 1) : 0.0F;
  const Vec3 blue = random.chance(0.5) ? linear(0.42F, 0.55F, 0.66F) : linear(0.45F, 0.50F, 0.36F);
  face.iris_color = mix(linear(0.30F, 0.19F, 0.12F), blue, light_eyes);
  draw_marks(random, face.skin, face);
  draw_wrinkles(random, face);
  face.wears_glasses = random.chance(0.15);
  return face;
}

}  // namespace facet::synth
