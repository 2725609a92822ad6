#include "backends/cpu/kernels/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>

#include "ir/error.h"
#include "ir/layout.h"

namespace facet::cpu {
namespace {

constexpr std::int64_t kChunk = 256;

std::optional<Float> as_float(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return Float::f32;
    case DType::bf16:
      return Float::bf16;
    case DType::f16:
      return Float::f16;
    default:
      return std::nullopt;
  }
}

template <class T>
T read(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}
template <class T>
void write(std::byte* p, T value) {
  std::memcpy(p, &value, sizeof(T));
}

template <class T>
void copy_strided(const std::byte* x, std::int64_t x_stride, std::byte* y, std::int64_t y_stride,
                  std::int64_t n) {
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t i = 0; i < n; ++i) {
    write(y + i * y_stride * kSize, read<T>(x + i * x_stride * kSize));
  }
}

void copy_elements(std::int64_t size, const std::byte* x, std::int64_t x_stride, std::byte* y,
                   std::int64_t y_stride, std::int64_t n) {
  if (x_stride == 1 && y_stride == 1) {
    std::memcpy(y, x, static_cast<std::size_t>(n * size));
    return;
  }
  switch (size) {
    case 1:
      return copy_strided<std::uint8_t>(x, x_stride, y, y_stride, n);
    case 2:
      return copy_strided<std::uint16_t>(x, x_stride, y, y_stride, n);
    case 4:
      return copy_strided<std::uint32_t>(x, x_stride, y, y_stride, n);
    default:
      return copy_strided<std::uint64_t>(x, x_stride, y, y_stride, n);
  }
}

/// Calls act(T{}) with the type that stores an integer or f64 `dtype`.
template <class Act>
void with_storage(DType dtype, const Act& act) {
  switch (dtype) {
    case DType::f64:
      return act(double{});
    case DType::i64:
      return act(std::int64_t{});
    case DType::i32:
      return act(std::int32_t{});
    case DType::i8:
      return act(std::int8_t{});
    default:
      return act(std::uint8_t{});
  }
}

void load_doubles(DType dtype, const std::byte* x, std::int64_t stride, double* y, std::int64_t n) {
  if (const auto type = as_float(dtype)) {
    float buffer[kChunk];
    load_floats(*type, x, stride, buffer, n);
    std::copy(buffer, buffer + n, y);
    return;
  }
  with_storage(dtype, [&]<class T>(T) {
    for (std::int64_t i = 0; i < n; ++i) {
      y[i] = static_cast<double>(read<T>(x + i * stride * static_cast<std::int64_t>(sizeof(T))));
    }
  });
}

/// Integers drop the fraction and saturate; NaN becomes 0.
template <class T>
T saturated(double value) {
  if constexpr (std::is_integral_v<T>) {
    // The largest i64 is no double; the next double above it is where the range ends.
    constexpr double kEnd = static_cast<double>(std::numeric_limits<T>::max()) + 1;
    if (value != value) return 0;
    if (value >= kEnd) return std::numeric_limits<T>::max();
    if (value <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  }
  return static_cast<T>(value);
}

void store_doubles(DType dtype, const double* x, std::byte* y, std::int64_t stride,
                   std::int64_t n) {
  if (const auto type = as_float(dtype)) {
    float buffer[kChunk];
    std::transform(x, x + n, buffer, [](double v) { return static_cast<float>(v); });
    store_floats(*type, buffer, y, stride, n);
    return;
  }
  with_storage(dtype, [&]<class T>(T) {
    for (std::int64_t i = 0; i < n; ++i) {
      const double value = dtype == DType::boolean ? static_cast<double>(x[i] != 0) : x[i];
      write(y + i * stride * static_cast<std::int64_t>(sizeof(T)), saturated<T>(value));
    }
  });
}

}  // namespace

Float float_type(const Node& node, DType dtype) {
  if (const auto type = as_float(dtype)) return *type;
  throw failure(fmt::format("the CPU kernel of '{}' ({}) computes on f32, bf16 and f16, not {}",
                            node.kind(), node.provenance().scope, to_string(dtype)));
}

void check_unblocked(const Node& node, std::span<const View> operands,
                     std::span<const View> results) {
  const auto check = [&](const View& view, std::string_view what, std::size_t i) {
    if (!is_blocked(view.type.layout) && view.strides.size() == view.type.shape.size()) return;
    throw failure(
        fmt::format("the CPU kernel of '{}' ({}) walks strided views; {} {} is {}: reorder "
                    "it to a layout without blocks first",
                    node.kind(), node.provenance().scope, what, i, to_string(view.type)));
  };
  for (std::size_t i = 0; i < operands.size(); ++i) check(operands[i], "operand", i);
  for (std::size_t i = 0; i < results.size(); ++i) check(results[i], "result", i);
}

void load_floats(Float type, const std::byte* x, std::int64_t stride, float* y, std::int64_t n) {
  const auto t = static_cast<int>(type);
  const VectorLoops& loops = vector_loops();
  if (stride == 1) return loops.widen[t](x, y, n);
  if (stride == 0) {
    loops.widen[t](x, y, 1);
    std::fill(y + 1, y + n, y[0]);
    return;
  }
  if (type == Float::f32) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = read<float>(x + i * stride * 4);
    return;
  }
  std::uint16_t halves[kChunk];
  for (std::int64_t begin = 0; begin < n; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, n - begin);
    for (std::int64_t i = 0; i < count; ++i) {
      halves[i] = read<std::uint16_t>(x + (begin + i) * stride * 2);
    }
    loops.widen[t](halves, y + begin, count);
  }
}

void store_floats(Float type, const float* x, std::byte* y, std::int64_t stride, std::int64_t n) {
  const auto t = static_cast<int>(type);
  const VectorLoops& loops = vector_loops();
  if (stride == 1) return loops.narrow[t](x, y, n);
  if (type == Float::f32) {
    for (std::int64_t i = 0; i < n; ++i) write(y + i * stride * 4, x[i]);
    return;
  }
  std::uint16_t halves[kChunk];
  for (std::int64_t begin = 0; begin < n; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, n - begin);
    loops.narrow[t](x + begin, halves, count);
    for (std::int64_t i = 0; i < count; ++i) write(y + (begin + i) * stride * 2, halves[i]);
  }
}

void convert(DType from, const std::byte* x, std::int64_t x_stride, DType to, std::byte* y,
             std::int64_t y_stride, std::int64_t n) {
  if (from == to) return copy_elements(size_of(from), x, x_stride, y, y_stride, n);
  const auto source = as_float(from);
  const auto target = as_float(to);
  if (source == Float::f32 && target && x_stride == 1) {
    return store_floats(*target, reinterpret_cast<const float*>(x), y, y_stride, n);
  }
  if (target == Float::f32 && source && y_stride == 1) {
    return load_floats(*source, x, x_stride, reinterpret_cast<float*>(y), n);
  }
  for (std::int64_t begin = 0; begin < n; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, n - begin);
    const std::byte* const at = x + begin * x_stride * size_of(from);
    std::byte* const out = y + begin * y_stride * size_of(to);
    if (source && target) {
      float buffer[kChunk];
      load_floats(*source, at, x_stride, buffer, count);
      store_floats(*target, buffer, out, y_stride, count);
    } else {
      double buffer[kChunk];
      load_doubles(from, at, x_stride, buffer, count);
      store_doubles(to, buffer, out, y_stride, count);
    }
  }
}

}  // namespace facet::cpu
