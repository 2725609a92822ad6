#include "zoo/dcr_trunks.h"

#include <fmt/format.h>

#include "ir/error.h"
#include "zoo/blocks/initializers.h"
#include "zoo/blocks/prelu_block.h"
#include "zoo/blocks/residual_block.h"

namespace facet::zoo {
namespace {

using Block = Tensor (*)(Scope, Tensor, std::int64_t, std::int64_t);

Tensor global_mean(Scope scope, Tensor x) {
  return flatten((scope / "avgpool").output(mean(x, {2, 3})));
}

/// The stem and a stage of `block` for each of `layers`; all but the first halve the map.
Tensor resnet(Scope scope, Tensor x, const Ints& layers, Block block, const ResNetStem& stem = {}) {
  x = resnet_stem(scope, x, stem);
  for (std::size_t stage = 0; stage < layers.size(); ++stage) {
    const Scope layer = scope / fmt::format("layer{}", stage + 1);
    for (std::int64_t i = 0; i < layers[stage]; ++i) {
      x = block(layer / i, x, stem.width << stage, stage > 0 && i == 0 ? 2 : 1);
    }
    x = layer.output(x);
  }
  return global_mean(scope, x);
}

}  // namespace

Tensor dcr_trunk(Scope scope, Tensor x, const Ints& layers, const ResNetStem& stem) {
  return resnet(scope, x, layers, basic_block, stem);
}

Tensor new_dcr_trunk(Scope scope, Tensor x, const Ints& layers, bool use_bn) {
  x = scope.conv("conv1", x,
                 {.out = 32, .kernel = 3, .padding = 1, .bias = false, .init = he_fan_out(3, 32)});
  if (use_bn) x = scope.batch_norm("bn1", x);
  x = scope.prelu("relu", x);
  for (std::size_t stage = 0; stage < 4; ++stage) {
    const Scope layer = scope / fmt::format("layer{}", stage + 1);
    x = prelu_stage(layer, x, std::int64_t{64} << stage, layers[stage], use_bn);
  }
  return global_mean(scope, x);
}

Tensor resnet_trunk(Scope scope, Tensor x, std::int64_t depth) {
  const Scope body = scope / "body";
  switch (depth) {
    case 18:
      return resnet(body, x, {2, 2, 2, 2}, basic_block);
    case 34:
      return resnet(body, x, {3, 4, 6, 3}, basic_block);
    case 50:
      return resnet(body, x, {3, 4, 6, 3}, bottleneck_block);
    case 101:
      return resnet(body, x, {3, 4, 23, 3}, bottleneck_block);
    case 152:
      return resnet(body, x, {3, 8, 36, 3}, bottleneck_block);
    default:
      break;
  }
  throw usage_error(
      fmt::format("dcr: there is no ResNet-{}; choose 18, 34, 50, 101 or 152", depth));
}

}  // namespace facet::zoo
