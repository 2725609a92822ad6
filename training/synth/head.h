#pragma once

#include <array>

#include "training/synth/capture.h"
#include "training/synth/identity.h"

namespace facet::synth {

/// Texture coordinate t per radian around the head's vertical axis.
inline constexpr float kAround = 41;

/// The surface of a head: a cylinder around the vertical axis whose half width and depth depend on
/// the height, with smooth bumps towards the viewer for nose, lips, cheeks, sockets and so on.
class Head {
 public:
  Head(const FaceIdentity& face, const Expression& expression, float hair_lift);

  /// The point at (t, y), before the head turns. `around` is turn(t / kAround).
  Vec3 point(float t, float y, Turn around) const;
  Vec3 point(float t, float y) const { return point(t, y, turn(t / kAround)); }

  /// Half the head's width at a height, without bumps.
  float half_width(float y) const;
  /// Where alignment looks: the eyes, the nose's tip, the mouth's corners; left in the picture
  /// first.
  std::array<Vec3, 5> landmarks() const;
  /// The height where the hair begins; below the crown nothing does on a bald head.
  float hair_line(float t) const;

 private:
  float front(float y) const;
  float relief(float t, float y) const;

  const FaceIdentity* face_;
  Expression expression_;
  float hair_lift_;
};

/// The place of a mouth's corner in a face with this expression: half width and y.
struct MouthPose {
  float half_width = 0;
  float y = 0;
  float open = 0;     ///< gap between the lips
  float corners = 0;  ///< how much higher the corners are than the middle
};
MouthPose mouth_pose(const MouthShape& mouth, const Expression& expression);

}  // namespace facet::synth
