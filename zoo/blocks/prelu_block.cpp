#include "zoo/blocks/prelu_block.h"

#include "zoo/blocks/initializers.h"

namespace facet::zoo {
namespace {

ConvOptions conv3x3(std::int64_t out) {
  return {.out = out, .kernel = 3, .padding = 1, .bias = false, .init = he_fan_out(3, out)};
}

}  // namespace

Tensor prelu_block(Scope scope, Tensor x, bool use_bn) {
  Tensor y = scope.conv("conv1", x, conv3x3(x.channels()));
  if (use_bn) y = scope.batch_norm("bn1", y);
  y = scope.prelu("relu1", y);
  y = scope.conv("conv2", y, conv3x3(x.channels()));
  if (use_bn) y = scope.batch_norm("bn2", y);
  return scope.output(scope.prelu("relu2", y + x));
}

Tensor prelu_stage(Scope scope, Tensor x, std::int64_t out, std::int64_t blocks, bool use_bn) {
  x = scope.conv("0", x, conv3x3(out));
  x = (scope / 1).output(max_pool(x, {.kernel = 2, .stride = 2}));
  for (std::int64_t i = 0; i < blocks; ++i) x = prelu_block(scope / (2 + i), x, use_bn);
  return scope.output(x);
}

}  // namespace facet::zoo
