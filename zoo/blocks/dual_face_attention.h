#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// Where to look: x * sigmoid(conv1x1(relu(conv1x1(x)))), one map for all channels.
/// The hidden width is C / reduction (rounded down).
///
/// x [N, C, H, W] -> [N, C, H, W]. Parameters: `spatial_atten.{0,2}.{weight,bias}`.
Tensor location_attention(Scope scope, Tensor x, std::int64_t reduction = 16);

/// Dual face attention of LS-CNN (Wang and Guo, "LS-CNN: Characterizing Local Patches at Multiple
/// Scales for Face Recognition", IEEE TIFS 15, 2020): location attention, then squeeze and
/// excitation of the map that it has weighted. There is no residual term, as published code does.
///
/// x [N, C, H, W] -> [N, C, H, W]. Parameters: `LANet.*`, `SENet.*`.
Tensor dual_face_attention(Scope scope, Tensor x, std::int64_t reduction = 16);

}  // namespace facet::zoo
