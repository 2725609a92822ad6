#pragma once

#include "training/synth/canvas.h"
#include "training/synth/head.h"

namespace facet::synth {

/// Reflectances of the head's surface over (t, y), from the neck's side to the forehead's top.
Canvas paint_face(const FaceIdentity& face, const Capture& capture, const Head& head);

/// Parts of it, in the order in which they are painted. Eyes: 0 is the left one in the picture.
void paint_skin(const FaceIdentity& face, const Capture& capture, Canvas& canvas);
void paint_nose(const FaceIdentity& face, Canvas& canvas);
void paint_eye(const FaceIdentity& face, const Capture& capture, int side, Canvas& canvas);
void paint_mouth(const FaceIdentity& face, const Expression& expression, Canvas& canvas);
void paint_brow(const FaceIdentity& face, const Expression& expression, int side, Canvas& canvas);
void paint_beard(const FaceIdentity& face, const Wear& wear, Canvas& canvas);
void paint_hair(const FaceIdentity& face, const Wear& wear, const Head& head, Canvas& canvas);

}  // namespace facet::synth
