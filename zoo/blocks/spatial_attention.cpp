#include "zoo/blocks/spatial_attention.h"

#include "zoo/blocks/initializers.h"

namespace facet::zoo {

Tensor spatial_attention(Scope scope, Tensor x, std::int64_t kernel) {
  const Tensor seen = concat({mean(x, {1}), max(x, {1})}, 1);
  const Tensor where = scope.conv(
      "conv1", seen,
      {.out = 1, .kernel = kernel, .padding = kernel / 2, .bias = false, .init = normal_init(0.1)});
  return scope.output(sigmoid(where));
}

}  // namespace facet::zoo
