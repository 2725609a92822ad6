#pragma once

#include "runtime/formats/image.h"
#include "training/synth/capture.h"
#include "training/synth/identity.h"

namespace facet::synth {

/// The pixels a side of a rendered picture.
inline constexpr int kPictureSize = 112;

/// A picture of a person: RGB, kPictureSize a side, aligned to InsightFace's landmarks as
/// well as the capture says. A pure function whose result is the same bits on every machine.
Image render_face(const FaceIdentity& face, const Capture& capture);

}  // namespace facet::synth
