#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// LS-CNN's transition: halves channels and resolution on three branches of different reach. With
/// c = conv_bn_relu, o = ceil(C / 2) and stride 2 without padding where the map shrinks:
///
///   b1 = c3x3/2 (c3x3 (c1x1 (z)));  b2 = c3x3/2 (c1x1 (z));  b3 = maxpool3x3/2 (c1x1 (z))
///   y  = c1x1 (concat[b1, b2, b3])
///
/// z [N, C, H, W] -> [N, o, (H - 3) / 2 + 1, (W - 3) / 2 + 1].
Tensor transition(Scope scope, Tensor z);

/// transition(dual_face_attention(x)), the step between two dense blocks of LS-CNN.
/// Parameters: `transition_block.DFA.*`, `transition_block.Transition layer.*`; the space in the
/// key is the published one.
Tensor transition_block(Scope scope, Tensor x);

}  // namespace facet::zoo
