#pragma once

#include <vector>

#include "backends/backend.h"

/// Values as they lie on the device where nothing else is said.
namespace facet::cuda {

/// Bytes by which every operand, result and piece of scratch is aligned.
inline constexpr std::int64_t kAlignment = 16;

/// A dense value, images [N, C, H, W] as NHWC and weights [O, C, kh, kw] alike; 8 in place of a
/// symbol.
View device_view(Type type);

std::vector<View> operand_views(const Node& node);
std::vector<View> result_views(const Node& node);

}  // namespace facet::cuda
