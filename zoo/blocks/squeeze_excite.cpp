#include "zoo/blocks/squeeze_excite.h"

namespace facet::zoo {

Tensor squeeze_excite(Scope scope, Tensor x, std::int64_t reduction) {
  const std::int64_t channels = x.channels();
  const Tensor squeezed = flatten(mean(x, {2, 3}));
  const Tensor hidden =
      relu(scope.linear("fc1", squeezed, {.out = channels / reduction, .bias = false}));
  const Tensor what = sigmoid(scope.linear("fc2", hidden, {.out = channels, .bias = false}));
  return scope.output(x * reshape(what, {0, channels, 1, 1}));
}

}  // namespace facet::zoo
