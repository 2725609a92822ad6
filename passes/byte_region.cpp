#include "passes/byte_region.h"

#include <algorithm>
#include <numeric>

namespace facet {

ByteRegion::ByteRegion(std::int64_t begin, std::int64_t element_bytes,
                       const std::vector<std::int64_t>& extents,
                       const std::vector<std::int64_t>& strides)
    : begin_(begin), run_(element_bytes) {
  std::vector<std::size_t> axes(extents.size());
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  std::sort(axes.begin(), axes.end(),
            [&](std::size_t a, std::size_t b) { return strides[a] < strides[b]; });
  for (const std::size_t axis : axes) {
    if (extents[axis] == 0) run_ = 0;
    if (extents[axis] == 1) continue;
    const std::int64_t step = strides[axis] * element_bytes;
    if (loops_.empty() && step == run_) {
      run_ *= extents[axis];
    } else {
      loops_.insert(loops_.begin(), Loop{extents[axis], step});
    }
  }
}

std::int64_t ByteRegion::end() const {
  std::int64_t last = begin_;
  for (const Loop& loop : loops_) last += (loop.count - 1) * loop.step;
  return last + run_;
}

void ByteMap::write(const ByteRegion& region, int number) {
  region.for_each_run([&](const ByteRange& run) {
    const auto end = split(run.second);
    starts_.erase(split(run.first), end);
    starts_[run.first] = number;
  });
}

/// The piece that starts at `at`, made if there is none.
std::map<std::int64_t, int>::iterator ByteMap::split(std::int64_t at) {
  const auto next = starts_.lower_bound(at);
  if (next != starts_.end() && next->first == at) return next;
  return starts_.emplace_hint(next, at, std::prev(next)->second);
}

std::optional<ByteRange> common_bytes(const ByteRegion& a, const ByteRegion& b) {
  if (a.empty() || b.empty() || a.begin() >= b.end() || b.begin() >= a.end()) return std::nullopt;
  std::vector<ByteRange> runs;
  b.for_each_run([&](const ByteRange& run) { runs.push_back(run); });
  std::optional<ByteRange> found;
  auto other = runs.begin();
  a.for_each_run([&](const ByteRange& run) {
    while (other != runs.end() && other->second <= run.first) ++other;
    if (found || other == runs.end() || other->first >= run.second) return;
    found = ByteRange(std::max(run.first, other->first), std::min(run.second, other->second));
  });
  return found;
}

}  // namespace facet
