#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// Convolutional block attention (Woo et al., "CBAM: Convolutional Block Attention Module", 2018),
/// channels first, then places:
///
///   x = x * sigmoid(mlp(mean of x over H, W) + mlp(max of x over H, W))
///   y = x * sigmoid(conv7x7(concat[mean of x over C, max of x over C]))
///
/// mlp is fc1 to C / reduction (rounded down), relu, fc2 back to C; the two calls share it. No
/// layer has a bias.
///
/// x [N, C, H, W] -> [N, C, H, W]. Parameters: `channel.fc{1,2}.weight`, `spatial.conv1.weight`.
Tensor cbam(Scope scope, Tensor x, std::int64_t reduction = 16, std::int64_t kernel = 7);

}  // namespace facet::zoo
