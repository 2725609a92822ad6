#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// The residual block of Deep Coupled ResNet (Lu, Jiang and Kot, IEEE SPL 25(4), 2018), with one
/// PReLU slope a channel; the paper's own has no normalisation (`use_bn` false):
///
///   y = prelu2([bn2](conv3x3([prelu1][bn1](conv3x3(x)))) + x)
///
/// x [N, C, H, W] -> [N, C, H, W]. Parameters: `conv1`, [`bn1`], `relu1`, `conv2`, [`bn2`],
/// `relu2`.
Tensor prelu_block(Scope scope, Tensor x, bool use_bn);

/// A stage of that network: a bare 3x3 convolution at full resolution, a 2x2 max pool, then
/// `blocks` prelu blocks.
///
/// x [N, C, H, W] -> [N, out, H / 2, W / 2]. Parameters: `0.weight`, `{2 ..}.*`; 1 is the pool.
Tensor prelu_stage(Scope scope, Tensor x, std::int64_t out, std::int64_t blocks, bool use_bn);

}  // namespace facet::zoo
