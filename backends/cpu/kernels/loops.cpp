#include "backends/cpu/kernels/loops.h"

#include <algorithm>
#include <numeric>

namespace facet::cpu {

std::int64_t Loops::elements() const {
  return std::accumulate(extents.begin(), extents.end(), std::int64_t{1}, std::multiplies<>());
}

Loops collapse(const std::vector<std::int64_t>& extents,
               const std::vector<std::vector<std::int64_t>>& strides, std::size_t leader) {
  std::vector<std::size_t> order;
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    if (extents[axis] != 1) order.push_back(axis);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return strides[leader][a] > strides[leader][b];
  });
  Loops loops;
  loops.strides.resize(strides.size());
  for (const std::size_t axis : order) {
    const bool joins = !loops.extents.empty() && [&] {
      for (std::size_t v = 0; v < strides.size(); ++v) {
        if (loops.strides[v].back() != strides[v][axis] * extents[axis]) return false;
      }
      return true;
    }();
    if (joins) {
      loops.extents.back() *= extents[axis];
    } else {
      loops.extents.push_back(extents[axis]);
    }
    for (std::size_t v = 0; v < strides.size(); ++v) {
      if (joins) {
        loops.strides[v].back() = strides[v][axis];
      } else {
        loops.strides[v].push_back(strides[v][axis]);
      }
    }
  }
  pad_loops(loops, 1);
  return loops;
}

void pad_loops(Loops& loops, std::size_t depth) {
  const std::size_t missing = depth > loops.depth() ? depth - loops.depth() : 0;
  loops.extents.insert(loops.extents.begin(), missing, 1);
  for (std::vector<std::int64_t>& view : loops.strides) view.insert(view.begin(), missing, 0);
}

std::vector<std::int64_t> broadcast_strides(const View& view,
                                            const std::vector<std::int64_t>& extents) {
  const std::vector<std::int64_t> own = static_extents(view.type.shape);
  std::vector<std::int64_t> strides(extents.size(), 0);
  const std::size_t missing = extents.size() - own.size();
  for (std::size_t i = 0; i < own.size(); ++i) {
    if (own[i] != 1) strides[missing + i] = view.strides[i];
  }
  return strides;
}

}  // namespace facet::cpu
