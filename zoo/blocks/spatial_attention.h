#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// Spatial attention of MLA, which is CBAM's (Woo et al., 2018):
///
///   w = sigmoid(conv7x7(concat[mean of x over C, max of x over C])), the convolution without bias
///
/// Returns the weights, not the weighted map: x [N, C, H, W] -> [N, 1, H, W].
/// Parameters: `conv1.weight`.
Tensor spatial_attention(Scope scope, Tensor x, std::int64_t kernel = 7);

}  // namespace facet::zoo
