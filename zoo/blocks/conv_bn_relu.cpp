#include "zoo/blocks/conv_bn_relu.h"

namespace facet::zoo {

Tensor conv_bn_relu(Scope scope, Tensor x, ConvOptions options) {
  options.bias = false;
  x = scope.conv("conv", x, options);
  x = scope.batch_norm("bn", x, {.epsilon = 1e-3});
  return scope.output(relu(x));
}

}  // namespace facet::zoo
