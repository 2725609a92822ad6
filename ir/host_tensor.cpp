#include "ir/host_tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "ir/error.h"

namespace facet {
namespace {

constexpr std::size_t kAlignment = 64;

double load(DType dtype, const std::byte* bytes, std::int64_t i) {
  const auto read = [&]<class T>(T) {
    T value;
    std::memcpy(&value, bytes + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    return value;
  };
  switch (dtype) {
    case DType::f32: return static_cast<double>(read(float{}));
    case DType::f64: return read(double{});
    case DType::bf16: return static_cast<double>(float_from_bf16(read(std::uint16_t{})));
    case DType::f16: return static_cast<double>(float_from_f16(read(std::uint16_t{})));
    case DType::i64: return static_cast<double>(read(std::int64_t{}));
    case DType::i32: return read(std::int32_t{});
    case DType::i8: return read(std::int8_t{});
    case DType::u8: return read(std::uint8_t{});
    case DType::boolean: return read(std::uint8_t{}) != 0 ? 1.0 : 0.0;
  }
  return 0;
}

void store(DType dtype, std::byte* bytes, std::int64_t i, double value) {
  const auto write = [&]<class T>(T v) {
    std::memcpy(bytes + i * static_cast<std::int64_t>(sizeof(T)), &v, sizeof(T));
  };
  switch (dtype) {
    case DType::f32: return write(static_cast<float>(value));
    case DType::f64: return write(value);
    case DType::bf16: return write(bf16_from_float(static_cast<float>(value)));
    case DType::f16: return write(f16_from_float(static_cast<float>(value)));
    case DType::i64: return write(static_cast<std::int64_t>(value));
    case DType::i32: return write(static_cast<std::int32_t>(value));
    case DType::i8: return write(static_cast<std::int8_t>(value));
    case DType::u8: return write(static_cast<std::uint8_t>(value));
    case DType::boolean: return write(static_cast<std::uint8_t>(value != 0));
  }
}

}  // namespace

std::int64_t element_count(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) {
      throw failure(fmt::format("the shape [{}] is not possible", fmt::join(shape, ", ")));
    }
  }
  return count;
}

HostTensor::HostTensor(DType dtype, std::vector<std::int64_t> shape)
    : dtype_(dtype), shape_(std::move(shape)), element_count_(facet::element_count(shape_)) {
  if (element_count_ > std::numeric_limits<std::int64_t>::max() / 16) {
    throw failure(fmt::format("a tensor of shape [{}] is too large", fmt::join(shape_, ", ")));
  }
  const auto size = static_cast<std::size_t>(byte_count());
  const std::size_t rounded = (size / kAlignment + 1) * kAlignment;
  void* bytes = std::aligned_alloc(kAlignment, rounded);
  if (bytes == nullptr) throw failure(fmt::format("out of memory: {} bytes for one tensor", size));
  std::memset(bytes, 0, rounded);
  owner_ = std::shared_ptr<const void>(bytes, [](void* p) { std::free(p); });
  bytes_ = static_cast<const std::byte*>(bytes);
}

HostTensor::HostTensor(DType dtype, std::vector<std::int64_t> shape, const std::byte* bytes,
                       std::shared_ptr<const void> owner)
    : dtype_(dtype),
      shape_(std::move(shape)),
      element_count_(facet::element_count(shape_)),
      bytes_(bytes),
      owner_(std::move(owner)) {}

HostTensor HostTensor::from_floats(std::vector<std::int64_t> shape,
                                   const std::vector<float>& values) {
  HostTensor tensor(DType::f32, std::move(shape));
  if (tensor.element_count() != static_cast<std::int64_t>(values.size())) {
    throw usage_error(fmt::format("{} values do not fill the shape [{}]", values.size(),
                                  fmt::join(tensor.shape(), ", ")));
  }
  std::copy(values.begin(), values.end(), tensor.as_mutable<float>());
  return tensor;
}

HostTensor HostTensor::from_doubles(std::vector<std::int64_t> shape,
                                    const std::vector<double>& values) {
  HostTensor tensor(DType::f64, std::move(shape));
  if (tensor.element_count() != static_cast<std::int64_t>(values.size())) {
    throw usage_error(fmt::format("{} values do not fill the shape [{}]", values.size(),
                                  fmt::join(tensor.shape(), ", ")));
  }
  std::copy(values.begin(), values.end(), tensor.as_mutable<double>());
  return tensor;
}

HostTensor HostTensor::scalar(DType dtype, double value) {
  HostTensor tensor(dtype, {});
  store(dtype, tensor.mutable_data(), 0, value);
  return tensor;
}

double HostTensor::at(std::int64_t i) const { return load(dtype_, bytes_, i); }

HostTensor HostTensor::cast(DType dtype) const {
  if (dtype == dtype_) return *this;
  HostTensor result(dtype, shape_);
  for (std::int64_t i = 0; i < element_count_; ++i) store(dtype, result.mutable_data(), i, at(i));
  return result;
}

HostTensor HostTensor::reshaped(std::vector<std::int64_t> shape) const {
  if (facet::element_count(shape) != element_count_) {
    throw usage_error(fmt::format("cannot view a tensor of shape [{}] as [{}]",
                                  fmt::join(shape_, ", "), fmt::join(shape, ", ")));
  }
  HostTensor result = *this;
  result.shape_ = std::move(shape);
  return result;
}

HostTensor HostTensor::clone() const {
  HostTensor result(dtype_, shape_);
  std::memcpy(result.mutable_data(), bytes_, static_cast<std::size_t>(byte_count()));
  return result;
}

std::vector<double> HostTensor::to_doubles() const {
  std::vector<double> values(static_cast<std::size_t>(element_count_));
  for (std::int64_t i = 0; i < element_count_; ++i) values[static_cast<std::size_t>(i)] = at(i);
  return values;
}

}  // namespace facet
