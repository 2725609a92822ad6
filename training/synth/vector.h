#pragma once

#include <algorithm>
#include <cmath>

/// Small mathematics of the face renderer. Only the four operations and square roots, in a fixed
/// order and without contraction (CMakeLists.txt), so that a picture has the same bits everywhere.
namespace facet::synth {

/// A point, a direction or a linear-light colour.
struct Vec3 {
  float x = 0;
  float y = 0;
  float z = 0;
};

inline Vec3 operator+(Vec3 a, Vec3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec3 operator-(Vec3 a, Vec3 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec3 operator*(Vec3 a, Vec3 b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
inline Vec3 operator*(Vec3 a, float s) { return {a.x * s, a.y * s, a.z * s}; }
inline float dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec3 cross(Vec3 a, Vec3 b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
inline float mix(float a, float b, float share) { return a + (b - a) * share; }
inline Vec3 mix(Vec3 a, Vec3 b, float share) { return a + (b - a) * share; }
inline float unit(float x) { return std::clamp(x, 0.0F, 1.0F); }
inline float square(float x) { return x * x; }
inline float magnitude(float x) { return x < 0 ? -x : x; }

/// 0 up to `low`, 1 from `high` on, smooth between; also for low > high, then falling.
inline float smooth_step(float low, float high, float x) {
  const float t = unit((x - low) / (high - low));
  return t * t * (3 - 2 * t);
}

/// 1 in the middle, 0 from squared distance 1 on, smooth.
inline float bump(float squared_distance) {
  return squared_distance >= 1 ? 0.0F : square(1 - squared_distance);
}

/// IEEE 754 defines square roots to the bit, too.
inline float root(float x) { return x > 0 ? std::sqrt(x) : 0.0F; }
Vec3 normalized(Vec3 a);

/// The cosine and sine of an angle in [-pi, pi] radians.
struct Turn {
  float cosine = 1;
  float sine = 0;
};
Turn turn(double angle);

/// Rows of a rotation matrix.
struct Rotation {
  Vec3 row[3];
  Vec3 apply(Vec3 p) const { return {dot(row[0], p), dot(row[1], p), dot(row[2], p)}; }
};

/// First about the vertical axis (yaw), then the horizontal (pitch), then the line of sight (roll),
/// in radians, with x to the right, y down and z to the viewer. Positive yaw turns the face to the
/// right of the picture, positive pitch down.
Rotation rotation(double yaw, double pitch, double roll);

}  // namespace facet::synth
