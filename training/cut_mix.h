#pragma once

#include "ir/host_tensor.h"
#include "training/augment.h"
#include "training/random.h"

namespace facet {

/// What the loss of a mixed batch is made of: own * L(own labels) + (1 - own) * L(labels).
struct CutMixResult {
  HostTensor labels;  ///< i64 [N]: of the pictures the boxes came from
  double own = 1;     ///< the share of the area that is the picture's own
};

/// Pastes the same box of another picture of the batch into every picture, in place (Yun et al.,
/// "CutMix", 2019): with probability `cut_mix` a share s ~ Beta(cut_mix_beta, cut_mix_beta), a box
/// of sqrt(1 - s) of each side (rounded down) around a uniform centre, cut off at the border, from
/// the pictures in a random order. `own` is 1 - box / area. Otherwise the batch stays, with its own
/// labels. `pixels` is f32 [N, 3, H, W], `labels` i64 [N].
CutMixResult cut_mix(HostTensor& pixels, const HostTensor& labels, const Augmentation& augmentation,
                     Random random);

}  // namespace facet
