#include "zoo/blocks/channel_attention.h"

#include "zoo/blocks/initializers.h"
#include "zoo/blocks/learnable_fusion.h"

namespace facet::zoo {
namespace {

Tensor mlp(Scope scope, Tensor x, std::int64_t reduction) {
  const Initializer init = normal_init(0.1);
  const std::int64_t channels = x.channels();
  x = scope.conv("0", x, {.out = channels / reduction, .bias = false, .init = init});
  x = (scope / 1).output(relu(x));
  return scope.output(scope.conv("2", x, {.out = channels, .bias = false, .init = init}));
}

}  // namespace

Tensor channel_attention(Scope scope, Tensor x, std::int64_t reduction) {
  const Scope fc = (scope / "fc").shared();
  const Tensor average = mlp(fc, mean(x, {2, 3}), reduction);
  const Tensor peak = mlp(fc, max(x, {2, 3}), reduction);
  return scope.output(sigmoid(learnable_fusion(scope / "lf", average, peak)));
}

}  // namespace facet::zoo
