#pragma once

#include <functional>

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

/// The widths of a bottleneck block.
struct Bottleneck {
  std::int64_t width = 0;  ///< channels inside
  std::int64_t out = 0;
  std::int64_t stride = 1;
};

/// A bottleneck with any middle, a 1x1 convolution ahead of it and one behind:
///
///   y = relu(bn3(conv1x1(relu(middle(relu(bn1(conv1x1(x))))))) + shortcut(x))
///
/// `middle` takes [N, width, H, W] to [N, width, H', W'], the extents that the stride leaves.
/// x [N, C, H, W] -> [N, out, H', W'].
/// Parameters: `conv{1,3}`, `bn{1,3}`, the middle's own, `downsample.{0,1}`.
Tensor bottleneck_block(Scope scope, Tensor x, const Bottleneck& block,
                        const std::function<Tensor(Tensor)>& middle);

/// The same around a 3x3 convolution with the stride and its batch norm: `conv2`, `bn2`.
Tensor bottleneck_block(Scope scope, Tensor x, const Bottleneck& block);

/// The bottleneck block of the deeper ResNets: 1x1, 3x3 with the stride, 1x1 to 4 * planes
/// channels. The stride sits on the 3x3, as published code does.
///
/// x [N, C, H, W] -> [N, 4 * planes, ceil(H / stride), ceil(W / stride)].
/// Parameters: `conv{1,2,3}`, `bn{1,2,3}`, `downsample.{0,1}`.
Tensor bottleneck_block(Scope scope, Tensor x, std::int64_t planes, std::int64_t stride);

}  // namespace facet::zoo
