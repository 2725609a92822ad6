#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "training/random.h"
#include "training/synth/vector.h"

/// Who a rendered face is. Lengths are in units of which the eyes are about 35 apart, as they are
/// in pixels on an aligned picture of 112 x 112; places on the face are (t, y): t to the right
/// along the surface from the middle line, y down from between the eyes. Colours are reflectances.
namespace facet::synth {

struct HeadShape {
  float half_width = 41;  ///< at the widest place, the temples
  float chin = 65;        ///< y of the chin's lowest point
  float crown = -64;      ///< y of the skull's top
  float square_jaw = 0;   ///< 0: an oval, 1: the jaw stays wide down to the chin
  float taper = 0;        ///< 0: an oval, 1: the cheeks run straight to a pointed chin
  float cheekbones = 0;   ///< how much wider the head is below the eyes, of its width
  float flatness = 1;     ///< depth of a cross-section by its width
  float forehead = 0;     ///< how far it leans back, per unit of height
  float chin_out = 0;     ///< how far the chin stands out
  float cheeks = 2;       ///< fullness beside the mouth
  float brow_ridge = 2;
  float sockets = 3;  ///< depth of the eye sockets
};

struct EyeShape {
  float t = 18;  ///< from the middle line
  float y = 0;
  float half_width = 8.5F;
  float upper = 3.4F;  ///< height of the open lids above and below the line of the corners
  float lower = 2.2F;
  float tilt = 0;    ///< how much higher the outer corner is, per unit
  float skew = 0;    ///< where the upper lid is highest: negative towards the nose
  float crease = 2;  ///< of the lid's fold above the upper lid; below 0.7 it is hidden
  float bag = 0;     ///< strength of the shade below the eye
  float iris = 3.4F;
};

struct BrowShape {
  float t = 18.5F;
  float y = -10;
  float half_length = 11;
  float thickness = 2.6F;
  float slope = 0;  ///< how much higher the outer end is, per unit
  float arch = 2;
  float peak = 0.2F;  ///< where the arch is, as a part of the half length
  float density = 0.8F;
};

struct NoseShape {
  float bridge = -3;  ///< y where it begins
  float tip = 20;
  float height = 14;  ///< of the tip over the face
  float bridge_height = 4;
  float hook = 0;          ///< how much the ridge bends out half-way
  float bridge_width = 5;  ///< half
  float wings = 9.5F;      ///< half the width at the nostrils
  float nostrils = 1;      ///< size
  float bend = 0;          ///< of the ridge to a side
};

struct MouthShape {
  float y = 41;
  float half_width = 17.4F;  ///< along the surface, which is narrower here than at the temples
  float upper_lip = 3;
  float lower_lip = 4.2F;
  float bow = 1.2F;   ///< depth of the cupid's bow
  float corners = 0;  ///< how much higher the corners are
  float redness = 0.5F;
  float fullness = 2.5F;  ///< how far the lips stand out
  float off_centre = 0;
};

struct HairShape {
  bool bald = false;
  float line = -38;       ///< y of the hair line in the middle
  float temple = -34;     ///< y where it turns down to the sides
  float peak = 0;         ///< of a widow's peak
  float part = 0;         ///< how much lower it hangs on one side, per unit
  float fringe_wave = 0;  ///< height of locks at the hair line
  float side = 41;        ///< |t| beyond which hair covers the face's side
  float sideburn = 12;    ///< y down to which it does
  float volume = 5;
  float length = 0;  ///< y down to which hair hangs behind the face
  float curl = 0;
  float strand = 1.2F;              ///< strands per unit
  std::array<float, 3> beard = {};  ///< density on the chin, the cheeks and above the mouth
};

/// A small mark on the skin: a mole, a freckle, a scar's piece.
struct Mark {
  float t = 0;
  float y = 0;
  float half_width = 1;
  float half_height = 1;
  Vec3 factor;
  float strength = 1;
};

/// A line of the skin from (t, y) on, with length, direction and bend.
struct Wrinkle {
  float t = 0;
  float y = 0;
  float length = 10;
  Vec3 along;  ///< unit vector (t, y, 0)
  float bend = 0;
  float strength = 0.2F;
};

struct FaceIdentity {
  HeadShape head;
  std::array<EyeShape, 2> eyes;  ///< left in the picture first, as below; not quite alike
  std::array<BrowShape, 2> brows;
  NoseShape nose;
  MouthShape mouth;
  HairShape hair;
  float ear_height = 13;
  float ear_width = 5;
  float ear_y = 8;
  float folds = 0.1F;  ///< strength of the lines from the nose to the mouth's corners
  std::vector<Mark> marks;
  std::vector<Wrinkle> wrinkles;
  Vec3 skin;
  Vec3 hair_color;
  Vec3 iris_color;
  bool wears_glasses = false;  ///< in most pictures
  std::uint32_t salt = 0;      ///< of the textures' noise
};

/// A person, from the draws of `random` alone.
FaceIdentity draw_identity(Random random);

}  // namespace facet::synth
