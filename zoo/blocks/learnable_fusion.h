#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// MLA's learnable constraining parameter: trunk + gamma * side, gamma one number, 0.5 at first.
///
/// trunk, side [...] -> [...]. Parameters: `gamma`.
inline Tensor learnable_fusion(Scope scope, Tensor trunk, Tensor side) {
  const Tensor gamma = scope.parameter("gamma", {1}, {Initializer::Kind::constant, 0.5, 0});
  return scope.output(trunk + gamma * side);
}

}  // namespace facet::zoo
