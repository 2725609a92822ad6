#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

namespace facet::cpu {

/// One spatial axis of the window and what of it lies inside the plane.
struct Window {
  std::int64_t in = 1, out = 1, kernel = 1, stride = 1, pad = 0;

  /// [first, last) of the input for output position o; never empty, since a pad is smaller than the
  /// kernel.
  std::pair<std::int64_t, std::int64_t> clip(std::int64_t o) const {
    const std::int64_t first = o * stride - pad;
    return {std::max<std::int64_t>(first, 0), std::min(first + kernel, in)};
  }
  /// Whether nothing of the window lies outside.
  bool is_whole(std::int64_t o) const {
    const auto [first, last] = clip(o);
    return last - first == kernel;
  }
  /// [first, last) of the output positions whose window reaches into the input's [begin, end).
  std::pair<std::int64_t, std::int64_t> reaching(std::int64_t begin, std::int64_t end) const {
    // The first window that ends behind `begin`, and the first that starts at `end` or behind.
    const std::int64_t from = std::max<std::int64_t>(begin + pad - kernel + stride, 0) / stride;
    const std::int64_t to = (end - 1 + pad) / stride + 1;
    return {std::min(from, out), std::max(std::min(to, out), std::min(from, out))};
  }
  /// A padded line is phases() x phase_row() elements: enough for every window and the input.
  std::int64_t phases() const { return stride; }
  std::int64_t phase_row() const {
    const std::int64_t length = std::max((out - 1) * stride + kernel, pad + in);
    return (length + stride - 1) / stride;
  }
};

}  // namespace facet::cpu
