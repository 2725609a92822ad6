#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace facet {

/// A half-open range of bytes.
using ByteRange = std::pair<std::int64_t, std::int64_t>;

/// The bytes of a strided value in the arena: runs of equal length, in ascending order, that do not
/// touch each other.
class ByteRegion {
 public:
  ByteRegion() = default;
  /// Elements of `element_bytes` at `begin` + sum of index * stride * element_bytes. Axes must
  /// nest: each stride, in the order of their size, is at least what the smaller ones span.
  ByteRegion(std::int64_t begin, std::int64_t element_bytes,
             const std::vector<std::int64_t>& extents, const std::vector<std::int64_t>& strides);
  /// One run.
  ByteRegion(std::int64_t begin, std::int64_t bytes) : begin_(begin), run_(bytes) {}

  std::int64_t begin() const { return begin_; }
  std::int64_t end() const;
  bool empty() const { return run_ == 0; }
  std::int64_t run_bytes() const { return run_; }

  /// Calls `visit` with each run as a ByteRange.
  template <class Visit>
  void for_each_run(Visit visit) const {
    if (!empty()) visit_runs(0, begin_, visit);
  }

  struct Loop {
    std::int64_t count = 0;
    std::int64_t step = 0;  ///< bytes
  };
  /// How the run repeats, outermost first; loops that continue one another are one.
  const std::vector<Loop>& loops() const { return loops_; }

 private:
  template <class Visit>
  void visit_runs(std::size_t depth, std::int64_t at, Visit& visit) const {
    if (depth == loops_.size()) {
      visit(ByteRange(at, at + run_));
      return;
    }
    for (std::int64_t i = 0; i < loops_[depth].count; ++i) {
      visit_runs(depth + 1, at + i * loops_[depth].step, visit);
    }
  }

  std::int64_t begin_ = 0;
  std::int64_t run_ = 0;
  std::vector<Loop> loops_;
};

/// Some bytes that both regions have, if there are any. Constant time for regions of one run and
/// for regions that repeat at the same distance, as slices of one buffer do.
std::optional<ByteRange> common_bytes(const ByteRegion& a, const ByteRegion& b);

}  // namespace facet
