#pragma once

#include <vector>

#include "zoo/zoo.h"

namespace facet::zoo {

/// Small members of the four families for pictures of 28x28 and 64x64 pixels: `lscnn_small`,
/// `dcr_small`, `mla_small` and `lesa_small`. They are made of the published networks' blocks, with
/// fewer and narrower ones and a stem that does not shrink the picture as much. All of them take
/// `input` [N, 3, S, S] (a grey picture as three equal channels) and give `embedding` and `logits`.
/// A picture of 64x64 costs about 1.3 times as much as one of 28x28: the stem's stride is 2.
std::vector<ModelSpec> small_presets();

}  // namespace facet::zoo
