#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// One layer of an LS-CNN dense block: three branches see patches of 5x5, 3x3 and 1x1, and a 1x1
/// convolution blends them (LS-CNN's HSNet; the 5x5 is two 3x3 and the pooling branch is left out,
/// as published code does). With c = conv_bn_relu and g = growth:
///
///   b1 = c3x3 g (c3x3 g (c1x1 4g (x)));  b2 = c3x3 g (c1x1 4g (x));  b3 = c1x1 g (x)
///   y  = c1x1 g (concat[b1, b2, b3])
///
/// x [N, C, H, W] -> [N, growth, H, W].
Tensor dense_layer(Scope scope, Tensor x, std::int64_t growth);

/// LS-CNN's dense block. Each layer reads an attended copy of all that came before; what is carried
/// on and concatenated is the raw tensor:
///
///   x_{i+1} = concat[x_i, dense_layer_i(dual_face_attention_i(x_i))]
///
/// x [N, C, H, W] -> [N, C + layers * growth, H, W].
/// Parameters: `DenseBlock_{i}.DFA_{i}.*`, `DenseBlock_{i}.DenseLayer_{i}.*`.
Tensor dense_block(Scope scope, Tensor x, std::int64_t layers, std::int64_t growth);

}  // namespace facet::zoo
