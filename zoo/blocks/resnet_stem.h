#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// How a ResNet begins. The defaults are ImageNet's: the map has a quarter of the image's side.
struct ResNetStem {
  std::int64_t width = 64;  ///< channels of the stem and planes of the first stage
  std::int64_t kernel = 7;
  std::int64_t stride = 2;  ///< of the convolution; the pool behind it halves the map once more
};

/// The stem of ResNet (He et al., "Deep Residual Learning for Image Recognition", 2016):
///
///   maxpool3x3/2(relu(bn1(conv1(x)))), "same" padding
///
/// x [N, C, H, W] -> [N, width, ceil(ceil(H / stride) / 2), ceil(ceil(W / stride) / 2)].
/// Parameters: `conv1.weight`, `bn1.*`.
Tensor resnet_stem(Scope scope, Tensor x, const ResNetStem& stem);

}  // namespace facet::zoo
