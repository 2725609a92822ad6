#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/backend.h"

namespace facet::cpu {

/// A nest of loops over several views at once, outermost first. strides[v][d]: elements view v
/// moves by for one step of loop d.
struct Loops {
  std::vector<std::int64_t> extents;
  std::vector<std::vector<std::int64_t>> strides;

  std::size_t depth() const { return extents.size(); }
  std::int64_t elements() const;
};

/// The loops over `extents` with strides[v][axis] per view, in the order in which view `leader`
/// lies in memory. Extents of 1 are dropped and neighbours that every view walks evenly become one
/// loop, so a dense elementwise operation is a single loop; at least one loop is left.
Loops collapse(const std::vector<std::int64_t>& extents,
               const std::vector<std::vector<std::int64_t>>& strides, std::size_t leader);

/// Adds loops of extent 1 outside until there are at least `depth`.
void pad_loops(Loops& loops, std::size_t depth);

/// The strides of `view` inside a result of `extents`, which it is broadcast to as NumPy does: 0
/// along the axes it does not have.
std::vector<std::int64_t> broadcast_strides(const View& view,
                                            const std::vector<std::int64_t>& extents);

/// Calls body(offsets) for every position `begin..end` of the loops numbered row-major; offsets[v]
/// is where view v stands, in elements.
template <class Body>
void for_each_position(const Loops& loops, std::int64_t begin, std::int64_t end, Body&& body) {
  const std::size_t depth = loops.depth();
  const std::size_t views = loops.strides.size();
  std::vector<std::int64_t> index(depth);
  std::vector<std::int64_t> offsets(views);
  std::int64_t rest = begin;
  for (std::size_t d = depth; d-- > 0;) {
    index[d] = rest % loops.extents[d];
    rest /= loops.extents[d];
    for (std::size_t v = 0; v < views; ++v) offsets[v] += index[d] * loops.strides[v][d];
  }
  for (std::int64_t position = begin; position < end; ++position) {
    body(static_cast<const std::vector<std::int64_t>&>(offsets));
    for (std::size_t d = depth; d-- > 0;) {
      const bool wraps = ++index[d] == loops.extents[d];
      const std::int64_t steps = wraps ? 1 - loops.extents[d] : 1;
      for (std::size_t v = 0; v < views; ++v) offsets[v] += steps * loops.strides[v][d];
      if (!wraps) break;
      index[d] = 0;
    }
  }
}

}  // namespace facet::cpu
