#include "zoo/blocks/dual_face_attention.h"

namespace facet::zoo {

Tensor location_attention(Scope scope, Tensor x, std::int64_t reduction) {
  const Scope map = scope / "spatial_atten";
  Tensor where = map.conv("0", x, {.out = x.channels() / reduction});
  where = (map / 1).output(relu(where));
  where = map.conv("2", where, {.out = 1});
  where = (map / 3).output(sigmoid(where));
  return scope.output(x * map.output(where));
}

Tensor squeeze_excite(Scope scope, Tensor x, std::int64_t reduction) {
  const std::int64_t channels = x.channels();
  const Tensor squeezed = flatten(mean(x, {2, 3}));
  const Tensor hidden =
      relu(scope.linear("fc1", squeezed, {.out = channels / reduction, .bias = false}));
  const Tensor what = sigmoid(scope.linear("fc2", hidden, {.out = channels, .bias = false}));
  return scope.output(x * reshape(what, {0, channels, 1, 1}));
}

Tensor dual_face_attention(Scope scope, Tensor x, std::int64_t reduction) {
  const Tensor seen = location_attention(scope / "LANet", x, reduction);
  return scope.output(squeeze_excite(scope / "SENet", seen, reduction));
}

}  // namespace facet::zoo
