#pragma once

#include <vector>

#include "backends/reference/evaluators.h"

namespace facet::reference {

/// One tap of a window that lies inside the image: places in the spatial grids, row-major.
struct Tap {
  std::int64_t output, kernel, input;
};

/// All taps of the windows that slide over `input` for the places of `output`, by output place,
/// then by tap. Strides, pads and dilations (1 where the op has none) are the attributes of those
/// names.
std::vector<Tap> sliding_taps(const Extents& input, const Extents& kernel, const Extents& output,
                              const Attributes& attributes);

/// The axes behind [N, C].
inline Extents spatial(const Extents& shape) { return Extents(shape.begin() + 2, shape.end()); }

}  // namespace facet::reference
