#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ir/dtype.h"

namespace facet {

/// A dense row-major tensor in host memory. Copies are shallow: the bytes are shared and never
/// freed before the last copy. The bytes may live in a mapped file (read-only: do not write through
/// `mutable_data` of a tensor you did not allocate). Not synchronised; concurrent reads are safe.
class HostTensor {
 public:
  HostTensor() = default;
  /// Allocates zeroed bytes, 64-byte aligned. Throws Error(failure) if the size overflows.
  HostTensor(DType dtype, std::vector<std::int64_t> shape);
  /// Wraps `bytes` kept alive by `owner` (a mapped file, say).
  HostTensor(DType dtype, std::vector<std::int64_t> shape, const std::byte* bytes,
             std::shared_ptr<const void> owner);

  /// These throw Error(usage) if the values do not fill the shape.
  static HostTensor from_floats(std::vector<std::int64_t> shape, const std::vector<float>& values);
  static HostTensor from_doubles(std::vector<std::int64_t> shape, const std::vector<double>& values);
  /// Rank 0, `value` rounded as by `cast`.
  static HostTensor scalar(DType dtype, double value);

  DType dtype() const { return dtype_; }
  const std::vector<std::int64_t>& shape() const { return shape_; }
  std::int64_t rank() const { return static_cast<std::int64_t>(shape_.size()); }
  std::int64_t element_count() const { return element_count_; }
  std::int64_t byte_count() const { return element_count_ * size_of(dtype_); }
  bool empty() const { return bytes_ == nullptr; }

  const std::byte* data() const { return bytes_; }
  std::byte* mutable_data() { return const_cast<std::byte*>(bytes_); }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes_);
  }
  template <class T>
  T* as_mutable() {
    return reinterpret_cast<T*>(mutable_data());
  }

  /// Element `i` (row-major) as a double, whatever the dtype.
  double at(std::int64_t i) const;
  /// A new tensor of `dtype`. Floats round once, to nearest even; integers truncate, saturate and
  /// take NaN as 0; values pass through double, exact for integers up to 2^53. Same dtype: *this.
  HostTensor cast(DType dtype) const;
  /// Same bytes, another shape with as many elements. Throws Error(usage) otherwise.
  HostTensor reshaped(std::vector<std::int64_t> shape) const;
  /// The bytes in a fresh allocation.
  HostTensor clone() const;
  std::vector<double> to_doubles() const;

 private:
  DType dtype_ = DType::f32;
  std::vector<std::int64_t> shape_;
  std::int64_t element_count_ = 0;
  const std::byte* bytes_ = nullptr;
  std::shared_ptr<const void> owner_;
};

/// Named tensors: weights, inputs, outputs. Ordered by name.
using TensorMap = std::map<std::string, HostTensor>;

/// Product of `shape`; throws Error(failure) if it is negative or overflows int64.
std::int64_t element_count(const std::vector<std::int64_t>& shape);

}  // namespace facet
