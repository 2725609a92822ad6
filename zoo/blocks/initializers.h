#pragma once

#include <cmath>

#include "ir/graph.h"

namespace facet::zoo {

/// Normal with mean 0.
inline Initializer normal_init(double standard_deviation) {
  return {Initializer::Kind::normal, 0, standard_deviation};
}

/// He et al., "Delving Deep into Rectifiers", 2015, for a k x k convolution, counted over its
/// outputs: N(0, 2 / (k^2 * out)).
inline Initializer he_fan_out(std::int64_t kernel, std::int64_t out) {
  return normal_init(std::sqrt(2.0 / static_cast<double>(kernel * kernel * out)));
}

}  // namespace facet::zoo
