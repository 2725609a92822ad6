#pragma once

#include <cstddef>
#include <cstdint>

#include "ir/dtype.h"

namespace facet::test {

/// Element `i` of values of a float type that kernels compute with.
inline float load_value(const std::byte* at, DType dtype, std::int64_t i) {
  if (dtype == DType::f32) return reinterpret_cast<const float*>(at)[i];
  const std::uint16_t bits = reinterpret_cast<const std::uint16_t*>(at)[i];
  return dtype == DType::bf16 ? float_from_bf16(bits) : float_from_f16(bits);
}

/// Rounds to the type.
inline void store_value(std::byte* at, DType dtype, std::int64_t i, double value) {
  const auto single = static_cast<float>(value);
  if (dtype == DType::f32) {
    reinterpret_cast<float*>(at)[i] = single;
  } else {
    reinterpret_cast<std::uint16_t*>(at)[i] =
        dtype == DType::bf16 ? bf16_from_float(single) : f16_from_float(single);
  }
}

}  // namespace facet::test
