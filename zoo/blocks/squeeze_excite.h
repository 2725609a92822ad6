#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// Squeeze and excitation (Hu et al., "Squeeze-and-Excitation Networks", 2018), what to look for:
/// x * sigmoid(fc2(relu(fc1(mean of x over H and W)))), one weight a channel.
/// The hidden width is C / reduction (rounded down); the layers have no bias.
///
/// x [N, C, H, W] -> [N, C, H, W]. Parameters: `fc1.weight`, `fc2.weight`.
Tensor squeeze_excite(Scope scope, Tensor x, std::int64_t reduction = 16);

}  // namespace facet::zoo
