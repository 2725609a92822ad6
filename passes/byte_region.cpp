#include "passes/byte_region.h"

#include <algorithm>
#include <numeric>

namespace facet {
namespace {

/// Two runs that repeat at the same distance `step`. With b's begin at quotient * step + rest
/// behind a's, run i of a can only meet runs i - quotient and i - quotient - 1 of b.
std::optional<ByteRange> common_periodic(const ByteRegion& a, const ByteRegion& b) {
  const std::int64_t step = a.loops().front().step;
  const std::int64_t distance = b.begin() - a.begin();
  const std::int64_t rest = (distance % step + step) % step;
  const std::int64_t quotient = (distance - rest) / step;
  for (const std::int64_t shift : {quotient, quotient + 1}) {
    // The first i such that both run i of a and run i - shift of b exist.
    const std::int64_t i = std::max<std::int64_t>(0, shift);
    if (i >= a.loops().front().count || i - shift >= b.loops().front().count) continue;
    const std::int64_t a_begin = a.begin() + i * step;
    const std::int64_t b_begin = b.begin() + (i - shift) * step;
    const std::int64_t begin = std::max(a_begin, b_begin);
    const std::int64_t end = std::min(a_begin + a.run_bytes(), b_begin + b.run_bytes());
    if (begin < end) return ByteRange(begin, end);
  }
  return std::nullopt;
}

std::optional<ByteRange> common_by_walking(const ByteRegion& a, const ByteRegion& b) {
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

}  // namespace

ByteRegion::ByteRegion(std::int64_t begin, std::int64_t element_bytes,
                       const std::vector<std::int64_t>& extents,
                       const std::vector<std::int64_t>& strides)
    : begin_(begin), run_(element_bytes) {
  std::vector<std::size_t> axes(extents.size());
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  std::sort(axes.begin(), axes.end(),
            [&](std::size_t a, std::size_t b) { return strides[a] < strides[b]; });
  for (const std::size_t axis : axes) {
    const std::int64_t step = strides[axis] * element_bytes;
    if (extents[axis] == 0) run_ = 0;
    if (extents[axis] == 1) continue;
    if (loops_.empty() && step == run_) {
      run_ *= extents[axis];
    } else if (!loops_.empty() && step == loops_.front().count * loops_.front().step) {
      loops_.front().count *= extents[axis];
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

std::optional<ByteRange> common_bytes(const ByteRegion& a, const ByteRegion& b) {
  if (a.empty() || b.empty() || a.begin() >= b.end() || b.begin() >= a.end()) return std::nullopt;
  if (a.loops().size() == 1 && b.loops().size() == 1 &&
      a.loops().front().step == b.loops().front().step) {
    return common_periodic(a, b);
  }
  return common_by_walking(a, b);
}

}  // namespace facet
