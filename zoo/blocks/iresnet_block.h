#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// How an IResNet block ends.
enum class IResNetBlockKind {
  plain,  ///< ArcFace's: the sum is the result
  mla     ///< MLA's: the residual is attended to, and a ReLU follows the sum
};

/// The improved residual block of ArcFace (Deng et al., "ArcFace: Additive Angular Margin Loss for
/// Deep Face Recognition", 2019), normalisation first, stride on the second convolution:
///
///   b = bn3(conv3x3/stride(prelu(bn2(conv3x3(bn1(x))))))
///   y = b + shortcut(x)
///
/// The shortcut is x itself, or a 1x1 convolution of the raw x with BN (`project` true). MLA
/// attends to b, channels first, then places, and ends with a ReLU, as published code does:
///
///   b = channel_attention(b) * b;  b = spatial_attention(b) * b;  y = relu(b + shortcut(x))
///
/// x [N, C, H, W] -> [N, out, ceil(H / stride), ceil(W / stride)].
/// Parameters: `bn1`, `conv1`, `bn2`, `prelu`, `conv2`, `bn3`, [`downsample.{0,1}`],
/// [`attn.ca.*`, `attn.sa.*`].
Tensor iresnet_block(Scope scope, Tensor x, std::int64_t out, std::int64_t stride, bool project,
                     IResNetBlockKind kind);

}  // namespace facet::zoo
