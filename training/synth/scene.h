#pragma once

#include "training/synth/canvas.h"
#include "training/synth/head.h"

/// What is in a picture beside the head's surface.
namespace facet::synth {

/// From the head's coordinates to a canvas's pixels: turned, seen in perspective, aligned.
class View {
 public:
  /// Aligned as face recognition does: the similarity that brings the head's five landmarks nearest
  /// to InsightFace's on a picture of 112 x 112, then the capture's errors; `pixels` a side.
  View(const Head& head, const Capture& capture, int pixels);

  /// x and y in pixels of the canvas, z the depth, larger is nearer.
  Vec3 project(Vec3 point) const;
  /// Directions are only turned.
  Vec3 turned(Vec3 direction) const { return rotation_.apply(direction); }
  float pixels_per_unit() const;

 private:
  Vec3 seen(Vec3 point) const;

  Rotation rotation_;
  float distance_;
  float a_ = 1;  // x' = a x - b y + left, y' = b x + a y + top
  float b_ = 0;
  float left_ = 0;
  float top_ = 0;
};

/// The plane of the head at a depth z: inverts the view there, without perspective within it.
class Plane {
 public:
  Plane(const View& view, float z, Vec3 origin = {});
  /// The x and y of the head's coordinates, from the origin, that are seen at a pixel.
  Vec3 at(float px, float py) const;
  /// The box in pixels around the rectangle of these half sides.
  Box box(float half_width, float half_height) const;

 private:
  Vec3 origin_;
  Vec3 across_;
  Vec3 down_;
  float inverse_[4] = {};
};

// The head's mesh is drawn first: what lies behind it is only painted where
// it is seen.
void paint_background(const Capture& capture, Scene& scene);
/// Hair behind the face, the neck, the ears that the head does not hide.
void paint_behind(const FaceIdentity& face, const Capture& capture, const View& view,
                  const Head& head, Scene& scene);
/// Glasses, then what covers a part of the picture.
void paint_in_front(const FaceIdentity& face, const Capture& capture, const View& view,
                    const Head& head, Scene& scene);
/// The light that reaches a surface with this normal in the viewer's coordinates.
Vec3 light_on(const Lighting& lighting, Vec3 normal);

}  // namespace facet::synth
