#include "training/synth/vector.h"

namespace facet::synth {

Vec3 normalized(Vec3 a) {
  const float length = root(dot(a, a));
  return length > 0 ? a * (1 / length) : Vec3{0, 0, 1};
}

Turn turn(double angle) {
  // The Taylor series, whose next terms are below 1e-8 at pi; the C library's functions may differ
  // between machines in the last place.
  const double square = angle * angle;
  double cosine = 0;
  double sine = 0;
  for (int k = 24; k >= 2; k -= 2) {
    cosine = (1 + cosine) * -square / (k * (k - 1));
    sine = (1 + sine) * -square / (k * (k + 1));
  }
  return {static_cast<float>(1 + cosine), static_cast<float>(angle * (1 + sine))};
}

Rotation rotation(double yaw, double pitch, double roll) {
  const Turn y = turn(yaw);
  const Turn p = turn(pitch);
  const Turn r = turn(roll);
  // Yaw: (c x + s z, y, c z - s x); pitch: (x, c y + s z, c z - s y); roll in the picture's plane.
  const Vec3 a = {y.cosine, 0, y.sine};
  const Vec3 b = {-p.sine * y.sine, p.cosine, p.sine * y.cosine};
  const Vec3 c = {-p.cosine * y.sine, -p.sine, p.cosine * y.cosine};
  return {{a * r.cosine - b * r.sine, a * r.sine + b * r.cosine, c}};
}

}  // namespace facet::synth
