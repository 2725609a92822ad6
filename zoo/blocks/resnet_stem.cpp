#include "zoo/blocks/resnet_stem.h"

#include "zoo/blocks/initializers.h"

namespace facet::zoo {

Tensor resnet_stem(Scope scope, Tensor x, const ResNetStem& stem) {
  x = scope.conv("conv1", x,
                 {.out = stem.width,
                  .kernel = stem.kernel,
                  .stride = stem.stride,
                  .padding = stem.kernel / 2,
                  .bias = false,
                  .init = he_fan_out(stem.kernel, stem.width)});
  x = scope.batch_norm("bn1", x);
  x = (scope / "relu").output(relu(x));
  return (scope / "maxpool").output(max_pool(x, {.kernel = 3, .stride = 2, .padding = 1}));
}

}  // namespace facet::zoo
