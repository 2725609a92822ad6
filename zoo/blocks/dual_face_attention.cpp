#include "zoo/blocks/dual_face_attention.h"

#include "zoo/blocks/squeeze_excite.h"

namespace facet::zoo {

Tensor location_attention(Scope scope, Tensor x, std::int64_t reduction) {
  const Scope map = scope / "spatial_atten";
  Tensor where = map.conv("0", x, {.out = x.channels() / reduction});
  where = (map / 1).output(relu(where));
  where = map.conv("2", where, {.out = 1});
  where = (map / 3).output(sigmoid(where));
  return scope.output(x * map.output(where));
}

Tensor dual_face_attention(Scope scope, Tensor x, std::int64_t reduction) {
  const Tensor seen = location_attention(scope / "LANet", x, reduction);
  return scope.output(squeeze_excite(scope / "SENet", seen, reduction));
}

}  // namespace facet::zoo
