#pragma once

#include "ir/op.h"

namespace facet {

// An inference batch norm is scale * x + shift per channel.

/// [C], bn_weight / sqrt(var + epsilon): prepared when the statistics are.
Value batch_norm_scale(Builder& build, const Node& batch_norm);
/// [C], bn_bias - mean * scale.
Value batch_norm_shift(Builder& build, const Node& batch_norm, Value scale);

}  // namespace facet
