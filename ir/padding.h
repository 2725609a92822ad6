#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace facet {

/// What lies around the elements of a padded axis: one value, the outermost element, the axis
/// mirrored at its outermost element (which is not repeated), or the axis over again.
enum class PadMode { constant, edge, reflect, wrap };

/// "constant", "edge", "reflect" or "wrap". Throws Error(usage) for another word.
PadMode parse_pad_mode(std::string_view name);

/// A stretch of the padded axis: places to, to + 1, ... hold the elements from, from + step, ... of
/// the axis; step is 1, -1 (mirrored) or 0 (one element repeated). `from` is -1 where the constant
/// stands.
struct PadRun {
  std::int64_t to = 0;
  std::int64_t count = 0;
  std::int64_t from = 0;
  std::int64_t step = 1;
};

/// The stretches, in order and as long as can be, of an axis of `extent` elements with `before`
/// places ahead of it and `after` behind it. `extent` is at least 1, pads are not negative.
std::vector<PadRun> pad_runs(PadMode mode, std::int64_t extent, std::int64_t before,
                             std::int64_t after);

}  // namespace facet
