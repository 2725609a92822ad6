#include "zoo/blocks/cbam.h"

#include "zoo/blocks/spatial_attention.h"

namespace facet::zoo {

Tensor cbam(Scope scope, Tensor x, std::int64_t reduction, std::int64_t kernel) {
  const std::int64_t channels = x.channels();
  const Scope channel = scope / "channel";
  const auto mlp = [&](Tensor t) {
    const Scope shared = channel.shared();
    t = relu(shared.linear("fc1", flatten(t), {.out = channels / reduction, .bias = false}));
    return shared.linear("fc2", t, {.out = channels, .bias = false});
  };
  const Tensor what = sigmoid(mlp(mean(x, {2, 3})) + mlp(max(x, {2, 3})));
  const Tensor seen = channel.output(x * reshape(what, {0, channels, 1, 1}));
  return scope.output(seen * spatial_attention(scope / "spatial", seen, kernel));
}

}  // namespace facet::zoo
