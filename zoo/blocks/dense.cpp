#include "zoo/blocks/dense.h"

#include "zoo/blocks/conv_bn_relu.h"
#include "zoo/blocks/dual_face_attention.h"

namespace facet::zoo {

Tensor dense_layer(Scope scope, Tensor x, std::int64_t growth) {
  scope.order({"branch1_1x1", "branch2_1x1", "branch3_1x1", "branch1_3x3", "branch1_3x3_2",
               "branch2_3x3", "output"});
  const ConvOptions bottleneck{.out = 4 * growth};
  const ConvOptions point{.out = growth};
  const ConvOptions patch{.out = growth, .kernel = 3, .padding = 1};

  Tensor branch1 = conv_bn_relu(scope / "branch1_1x1", x, bottleneck);
  branch1 = conv_bn_relu(scope / "branch1_3x3", branch1, patch);
  branch1 = conv_bn_relu(scope / "branch1_3x3_2", branch1, patch);
  Tensor branch2 = conv_bn_relu(scope / "branch2_1x1", x, bottleneck);
  branch2 = conv_bn_relu(scope / "branch2_3x3", branch2, patch);
  const Tensor branch3 = conv_bn_relu(scope / "branch3_1x1", x, point);

  const Tensor scales = concat({branch1, branch2, branch3}, 1);
  return scope.output(conv_bn_relu(scope / "output", scales, point));
}

Tensor dense_block(Scope scope, Tensor x, std::int64_t layers, std::int64_t growth) {
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string index = std::to_string(i);
    const Scope step = scope / ("DenseBlock_" + index);
    const Tensor seen = dual_face_attention(step / ("DFA_" + index), x);
    const Tensor y = dense_layer(step / ("DenseLayer_" + index), seen, growth);
    x = step.output(concat({x, y}, 1));
  }
  return scope.output(x);
}

}  // namespace facet::zoo
