#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// Channel attention of MLA: like CBAM's (Woo et al., 2018), but the maximum's vote has a learnable
/// weight gamma, 0.5 at first (MLA's "learnable constraining parameter"):
///
///   w = sigmoid(mlp(mean of x over H, W) + gamma * mlp(max of x over H, W))
///
/// mlp is conv1x1 to C / reduction, relu, conv1x1 back to C, both without bias; the two calls share
/// it. Returns the weights, not the weighted map: x [N, C, H, W] -> [N, C, 1, 1].
/// Parameters: `fc.{0,2}.weight`, `lf.gamma`.
Tensor channel_attention(Scope scope, Tensor x, std::int64_t reduction = 16);

}  // namespace facet::zoo
