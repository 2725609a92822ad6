#include "zoo/blocks/transition.h"

#include "zoo/blocks/conv_bn_relu.h"
#include "zoo/blocks/dual_face_attention.h"

namespace facet::zoo {

Tensor transition(Scope scope, Tensor z) {
  scope.order({"branch1_1x1", "branch2_1x1", "branch3_1x1", "branch1_3x3", "branch1_3x3_2",
               "branch2_3x3", "output"});
  const std::int64_t out = (z.channels() + 1) / 2;
  const ConvOptions point{.out = out};
  const ConvOptions patch{.out = out, .kernel = 3, .padding = 1};
  const ConvOptions down{.out = out, .kernel = 3, .stride = 2};

  Tensor branch1 = conv_bn_relu(scope / "branch1_1x1", z, point);
  branch1 = conv_bn_relu(scope / "branch1_3x3", branch1, patch);
  branch1 = conv_bn_relu(scope / "branch1_3x3_2", branch1, down);
  Tensor branch2 = conv_bn_relu(scope / "branch2_1x1", z, point);
  branch2 = conv_bn_relu(scope / "branch2_3x3", branch2, down);
  Tensor branch3 = conv_bn_relu(scope / "branch3_1x1", z, point);
  branch3 = (scope / "branch3_3x3").output(max_pool(branch3, {.kernel = 3, .stride = 2}));

  const Tensor scales = concat({branch1, branch2, branch3}, 1);
  return scope.output(conv_bn_relu(scope / "output", scales, point));
}

Tensor transition_block(Scope scope, Tensor x) {
  const Scope block = scope / "transition_block";
  const Tensor seen = dual_face_attention(block / "DFA", x);
  return scope.output(block.output(transition(block / "Transition layer", seen)));
}

}  // namespace facet::zoo
