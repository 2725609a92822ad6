#include "backends/reference/sliding.h"

namespace facet::reference {
namespace {

/// The place `index` of a row-major grid.
Extents unravel(std::int64_t index, const Extents& grid) {
  Extents at(grid.size());
  for (std::size_t axis = grid.size(); axis-- > 0;) {
    at[axis] = index % grid[axis];
    index /= grid[axis];
  }
  return at;
}

}  // namespace

std::vector<Tap> sliding_taps(const Extents& input, const Extents& kernel, const Extents& output,
                              const Attributes& attributes) {
  const Ints& strides = attributes.ints("strides");
  const Ints& pads = attributes.ints("pads");
  const Ints dilations =
      attributes.has("dilations") ? attributes.ints("dilations") : Ints(input.size(), 1);
  std::vector<Tap> taps;
  for (std::int64_t o = 0; o < product(output); ++o) {
    const Extents place = unravel(o, output);
    for (std::int64_t k = 0; k < product(kernel); ++k) {
      const Extents tap = unravel(k, kernel);
      std::int64_t i = 0;
      bool inside = true;
      for (std::size_t axis = 0; axis < input.size(); ++axis) {
        const std::int64_t at =
            place[axis] * strides[axis] - pads[axis] + tap[axis] * dilations[axis];
        inside = inside && at >= 0 && at < input[axis];
        i = i * input[axis] + at;
      }
      if (inside) taps.push_back({o, k, i});
    }
  }
  return taps;
}

}  // namespace facet::reference
