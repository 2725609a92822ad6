#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// The basic block of ResNet (He et al., "Deep Residual Learning for Image Recognition", 2016),
/// also of the default DCR trunk:
///
///   y = relu(bn2(conv3x3(relu(bn1(conv3x3/stride(x))))) + shortcut(x))
///
/// The shortcut is x itself, or a 1x1 convolution with BN when stride or channels differ.
///
/// x [N, C, H, W] -> [N, out, ceil(H / stride), ceil(W / stride)].
/// Parameters: `conv1`, `bn1`, `conv2`, `bn2`, `downsample.{0,1}`.
Tensor basic_block(Scope scope, Tensor x, std::int64_t out, std::int64_t stride);

/// The bottleneck block of the deeper ResNets: 1x1, 3x3 with the stride, 1x1 to 4 * planes
/// channels. The stride sits on the 3x3, as published code does.
///
/// x [N, C, H, W] -> [N, 4 * planes, ceil(H / stride), ceil(W / stride)].
/// Parameters: `conv{1,2,3}`, `bn{1,2,3}`, `downsample.{0,1}`.
Tensor bottleneck_block(Scope scope, Tensor x, std::int64_t planes, std::int64_t stride);

}  // namespace facet::zoo
