#pragma once

#include <numbers>

#include "ir/dsl.h"

/// Activations that are compositions of plain functions. Any shape.
namespace facet::zoo {

/// x * Phi(x) = x / 2 * (1 + erf(x / sqrt(2))) (Hendrycks and Gimpel, "Gaussian Error Linear
/// Units", 2016).
inline Tensor gelu(Tensor x) { return x * 0.5 * (erf(x * (1 / std::numbers::sqrt2)) + 1.0); }

/// x * clamp(x + 3, 0, 6) / 6 (Howard et al., "Searching for MobileNetV3", 2019).
inline Tensor h_swish(Tensor x) { return x * clamp(x + 3.0, 0, 6) / 6.0; }

}  // namespace facet::zoo
