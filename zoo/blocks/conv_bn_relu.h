#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// LS-CNN's unit of convolution: relu(bn(conv(x))), the convolution without a bias.
/// The normalisation's epsilon is 1e-3 here, as published code does; the stem and the head of the
/// same network keep 1e-5. `options.bias` is ignored.
///
/// x [N, C, H, W] -> [N, options.out, H', W'].
/// Parameters: `conv.weight`, `bn.*`.
Tensor conv_bn_relu(Scope scope, Tensor x, ConvOptions options);

}  // namespace facet::zoo
