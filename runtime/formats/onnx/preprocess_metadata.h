#pragma once

#include <optional>

#include "runtime/formats/preprocess.h"
#include "runtime/formats/safetensors.h"

namespace facet {

/// How a photo becomes a network's input, as entries `preprocess.*` of a model's metadata: `width`,
/// `height` (pixels), `fit` (stretch, center_crop), `shorter_side`, `filter`, `mean` and `std`
/// (three numbers, in the order of the channels), `channels` (RGB, BGR), `layout` (NCHW) and
/// `value`, the formula in words.
Metadata preprocess_metadata(const Preprocess& settings);

/// The inverse; nothing if the metadata does not say. Throws Error(failure) that names an entry
/// that is missing or has no meaning.
std::optional<Preprocess> preprocess_of(const Metadata& metadata);

}  // namespace facet
