#pragma once

#include <array>
#include <cstdint>

#include "training/random.h"
#include "training/synth/identity.h"

/// How a person was taken in one picture: everything that recognition has to look past.
namespace facet::synth {

struct Expression {
  float smile = 0;         ///< -1 (sad) to 1
  float mouth_open = 0;    ///< gap between the lips in units
  float lips_pressed = 0;  ///< share of the lips that is hidden
  float brows_up = 0;      ///< in units
  float frown = 0;
  float lids = 1;  ///< 0: shut, 1: as the person's eyes are
  float gaze_t = 0;
  float gaze_y = 0;
};

struct Light {
  Vec3 direction = {0, 0, 1};  ///< from the face to the light
  Vec3 color = {1, 1, 1};
};

struct Lighting {
  std::array<Light, 2> lights;
  Vec3 sky = {0.4F, 0.4F, 0.4F};  ///< from above
  Vec3 ground = {0.3F, 0.3F, 0.3F};
  float gloss = 0.1F;  ///< of the skin
};

/// What the person wears or holds.
struct Wear {
  enum class Glasses { none, frame, dark };
  enum class Cover { none, bar, hand, patch };
  Glasses glasses = Glasses::none;
  float lens_width = 12;  ///< half
  float lens_height = 9;
  float frame = 1;  ///< thickness
  Vec3 frame_color;
  bool hat = false;
  float hat_line = -30;
  Vec3 hat_color;
  float hair_lift = 0;  ///< how much higher the hair line is than the person's own
  float stubble = 0;
  Cover cover = Cover::none;
  float cover_x = 0;  ///< in pixels of the aligned picture, as the next
  float cover_y = 0;
  float cover_size = 10;
  Vec3 cover_along = {1, 0, 0};
  Vec3 cover_color;
};

struct Camera {
  float exposure = 1;
  Vec3 balance = {1, 1, 1};  ///< gains of the channels
  float contrast = 1;
  float saturation = 1;  ///< 0: grey
  float distance = 600;  ///< from the face, in units
  int resolution = 112;  ///< pixels of the square that becomes 112 pixels
  bool soft = true;      ///< enlarged bicubically, not bilinearly
  float noise = 0.01F;   ///< deviation, of a range of 1
  int quality = 0;       ///< of a JPEG-like compression: 0 none, else the quantisation's step
  float motion = 0;      ///< length of a smear in pixels of the aligned picture
  bool motion_upright = false;
};

struct Capture {
  float yaw = 0;  ///< radians, as in rotation()
  float pitch = 0;
  float roll = 0;
  /// What the alignment got wrong: a similarity, in pixels of the aligned picture.
  float shift_x = 0;
  float shift_y = 0;
  float turn = 0;
  float zoom = 1;
  Expression expression;
  Lighting lighting;
  Wear wear;
  Camera camera;
  Vec3 background;
  Vec3 background_shade;
  std::uint32_t salt = 0;  ///< of noise, background clutter and texture
};

/// A snapshot, as of the web: anything goes. `difficulty` scales how far a picture is from a
/// passport photo: 0 is one, 1 the default of the data sets.
Capture draw_snapshot(const FaceIdentity& face, double difficulty, Random random);
/// A photo for a register: frontal, neutral, even light, full resolution.
Capture draw_mugshot(const FaceIdentity& face, Random random);
/// From one of five surveillance cameras above the head, which differ in colour, noise and
/// sharpness, at distance 1 (far: faces of 8 to 10 pixels), 2 or 3 (near).
Capture draw_surveillance(const FaceIdentity& face, int camera, int distance, Random random);

}  // namespace facet::synth
