#include "ir/host_tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

#include "ir/error.h"

namespace facet {
namespace {

constexpr std::size_t kAlignment = 64;

/// Rounds to odd: what a float cannot hold stays visible in its last bit, so that rounding on to 16
/// bits is right where rounding to the nearest float first would make a tie.
float to_odd_float(double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || std::isnan(value)) return nearest;
  auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(value)) --bits;
  return std::bit_cast<float>(bits | 1u);
}

template <class T>
T to_integer(double value) {
  using Limits = std::numeric_limits<T>;
  if (std::isnan(value)) return 0;
  if (value <= static_cast<double>(Limits::min())) return Limits::min();
  if (value >= static_cast<double>(Limits::max())) return Limits::max();
  return static_cast<T>(value);
}

/// How the elements of one dtype are stored and read.
template <class T>
struct Plain {
  using Stored = T;
  static double load(T stored) { return static_cast<double>(stored); }
  static T store(double value) {
    if constexpr (std::is_integral_v<T>) return to_integer<T>(value);
    return static_cast<T>(value);
  }
};
struct Brain {
  using Stored = std::uint16_t;
  static double load(Stored stored) { return static_cast<double>(float_from_bf16(stored)); }
  static Stored store(double value) { return bf16_from_float(to_odd_float(value)); }
};
struct Half {
  using Stored = std::uint16_t;
  static double load(Stored stored) { return static_cast<double>(float_from_f16(stored)); }
  static Stored store(double value) { return f16_from_float(to_odd_float(value)); }
};
struct Boolean {
  using Stored = std::uint8_t;
  static double load(Stored stored) { return stored != 0 ? 1.0 : 0.0; }
  static Stored store(double value) { return value != 0 ? 1 : 0; }
};

/// Calls `use` with the element class of `dtype`.
template <class Use>
auto with_element(DType dtype, Use&& use) {
  switch (dtype) {
    case DType::f64: return use(Plain<double>{});
    case DType::bf16: return use(Brain{});
    case DType::f16: return use(Half{});
    case DType::i64: return use(Plain<std::int64_t>{});
    case DType::i32: return use(Plain<std::int32_t>{});
    case DType::i8: return use(Plain<std::int8_t>{});
    case DType::u8: return use(Plain<std::uint8_t>{});
    case DType::boolean: return use(Boolean{});
    case DType::f32: break;
  }
  return use(Plain<float>{});
}

/// Mapped files may place elements at any address, so they are read by memcpy.
template <class Element>
double load(Element, const std::byte* bytes, std::int64_t i) {
  typename Element::Stored stored;
  std::memcpy(&stored, bytes + i * static_cast<std::int64_t>(sizeof(stored)), sizeof(stored));
  return Element::load(stored);
}

template <class Element>
void store(Element, std::byte* bytes, std::int64_t i, double value) {
  const typename Element::Stored stored = Element::store(value);
  std::memcpy(bytes + i * static_cast<std::int64_t>(sizeof(stored)), &stored, sizeof(stored));
}

/// Before the tensor is made: a shape read from a file may ask for more memory than there is.
void check_fill(const std::vector<std::int64_t>& shape, std::size_t values) {
  if (element_count(shape) != static_cast<std::int64_t>(values)) {
    throw usage_error(
        fmt::format("{} values do not fill the shape [{}]", values, fmt::join(shape, ", ")));
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
  check_fill(shape, values.size());
  HostTensor tensor(DType::f32, std::move(shape));
  std::copy(values.begin(), values.end(), tensor.as_mutable<float>());
  return tensor;
}

HostTensor HostTensor::from_doubles(std::vector<std::int64_t> shape,
                                    const std::vector<double>& values) {
  check_fill(shape, values.size());
  HostTensor tensor(DType::f64, std::move(shape));
  std::copy(values.begin(), values.end(), tensor.as_mutable<double>());
  return tensor;
}

HostTensor HostTensor::scalar(DType dtype, double value) {
  HostTensor tensor(dtype, {});
  with_element(dtype, [&](auto element) { store(element, tensor.mutable_data(), 0, value); });
  return tensor;
}

double HostTensor::at(std::int64_t i) const {
  return with_element(dtype_, [&](auto element) { return load(element, bytes_, i); });
}

HostTensor HostTensor::cast(DType dtype) const {
  if (dtype == dtype_) return *this;
  if (empty()) {
    HostTensor nothing;
    nothing.dtype_ = dtype;
    return nothing;
  }
  HostTensor result(dtype, shape_);
  std::byte* const to = result.mutable_data();
  with_element(dtype_, [&](auto source) {
    with_element(dtype, [&](auto target) {
      for (std::int64_t i = 0; i < element_count_; ++i) store(target, to, i, load(source, bytes_, i));
    });
  });
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
  if (empty()) return *this;
  HostTensor result(dtype_, shape_);
  std::memcpy(result.mutable_data(), bytes_, static_cast<std::size_t>(byte_count()));
  return result;
}

std::vector<double> HostTensor::to_doubles() const {
  std::vector<double> values(static_cast<std::size_t>(element_count_));
  with_element(dtype_, [&](auto element) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = load(element, bytes_, static_cast<std::int64_t>(i));
    }
  });
  return values;
}

}  // namespace facet
