#pragma once

#include "runtime/formats/image.h"
#include "training/synth/canvas.h"
#include "training/synth/capture.h"

namespace facet::synth {

/// What a camera makes of a scene in linear light: exposure, white balance, tone, smear,
/// resolution, noise, compression; then `size` x `size` pixels as a cutter of faces would enlarge
/// them.
Image expose(const Canvas& scene, const Camera& camera, std::uint32_t salt, int size);

/// Loses what a JPEG of quantisation steps that grow with `step` (1: hardly visible) and with the
/// frequency loses: blocks of 8 x 8 of luma and of chroma are transformed, rounded and transformed
/// back. Not a codec: there is no file, and chroma keeps its resolution.
void compress(Image& image, int step);

}  // namespace facet::synth
