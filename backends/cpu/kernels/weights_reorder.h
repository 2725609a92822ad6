#pragma once

#include <memory>

#include "backends/backend.h"

namespace facet::cpu {

/// reorder of trained weights, which runs in every step: from row-major [O, C, kh, kw] or [O, C] of
/// 2 bytes into blocks of output channels with pairs of input channels ("AcdB64a2b", "AB16b64a2b"),
/// or the reverse ("BcdA64b2a"). Null for all else.
std::unique_ptr<Kernel> lower_weights_reorder(const View& operand, const View& result);

}  // namespace facet::cpu
