#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "ir/host_tensor.h"

namespace facet::test {

/// A tensor's values in memory as a view lies: `strides` may leave gaps, which hold 0.
inline std::vector<std::byte> lay_out(const HostTensor& tensor, const View& view) {
  const std::vector<std::int64_t>& extents = tensor.shape();
  std::int64_t last = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) last += (extents[i] - 1) * view.strides[i];
  const HostTensor values = tensor.cast(view.type.dtype);
  const std::int64_t size = size_of(view.type.dtype);
  std::vector<std::byte> bytes(static_cast<std::size_t>((last + 1) * size + 16));
  for (std::int64_t i = 0; i < values.element_count(); ++i) {
    std::int64_t rest = i;
    std::int64_t at = 0;
    for (std::size_t axis = extents.size(); axis-- > 0; rest /= extents[axis]) {
      at += rest % extents[axis] * view.strides[axis];
    }
    std::copy_n(values.data() + i * size, size, bytes.data() + at * size);
  }
  return bytes;
}

/// Inverse of `lay_out`.
inline HostTensor take_out(const std::vector<std::byte>& bytes, const View& view) {
  HostTensor tensor(view.type.dtype, static_extents(view.type.shape));
  const std::vector<std::int64_t>& extents = tensor.shape();
  const std::int64_t size = size_of(view.type.dtype);
  for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
    std::int64_t rest = i;
    std::int64_t at = 0;
    for (std::size_t axis = extents.size(); axis-- > 0; rest /= extents[axis]) {
      at += rest % extents[axis] * view.strides[axis];
    }
    std::copy_n(bytes.data() + at * size, size, tensor.mutable_data() + i * size);
  }
  return tensor;
}

/// Half a unit in the last place of a number of this size, and what f32 arithmetic may add.
inline double tolerance(double expected, DType dtype) {
  const double size = std::fabs(expected);
  const double rounding = dtype == DType::bf16  ? size / 256
                          : dtype == DType::f16 ? size / 2048 + 3e-8
                                                : 0;
  return rounding * 1.001 + 4e-6 * (1 + size);
}

}  // namespace facet::test
