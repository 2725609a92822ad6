#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// Coordinate attention (Hou et al., "Coordinate Attention for Efficient Mobile Network Design",
/// 2021): a weight for every row and one for every column of each channel, from means along the
/// other side. With h_swish(t) = t * clamp(t + 3, 0, 6) / 6,
///
///   [f_h, f_w] = h_swish(bn1(conv1(concat[mean of x over W, mean of x over H])))
///   y[c, i, j] = x[c, i, j] * sigmoid(conv_h(f_h))[c, i] * sigmoid(conv_w(f_w))[c, j]
///
/// where the means lie one behind the other, [N, C, H + W, 1], and the three 1x1 convolutions have
/// a bias. The hidden width is C / reduction (rounded down), at least 8.
///
/// x [N, C, H, W] -> [N, C, H, W]; H and W must be fixed.
/// Parameters: `conv1`, `bn1`, `conv_h`, `conv_w`.
Tensor coordinate_attention(Scope scope, Tensor x, std::int64_t reduction = 32);

}  // namespace facet::zoo
