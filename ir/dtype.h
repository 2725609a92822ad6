#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace facet {

/// Element types. `boolean` is one byte, 0 or 1.
enum class DType : std::uint8_t { f32, bf16, f16, f64, i64, i32, i8, u8, boolean };

/// Bytes per element.
constexpr std::int64_t size_of(DType type) {
  switch (type) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return 1;
  }
  return 0;
}

constexpr bool is_float(DType type) {
  return type == DType::f32 || type == DType::bf16 || type == DType::f16 || type == DType::f64;
}

/// "f32", "bf16", ... "bool": the spelling of the text form.
std::string_view to_string(DType type);
/// Inverse of `to_string`. Throws Error(usage) that lists the known names.
DType parse_dtype(std::string_view name);

/// Round to nearest even; NaN stays NaN.
constexpr std::uint16_t bf16_from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}
constexpr float float_from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
/// IEEE binary16, round to nearest even, with subnormals, infinities and NaN.
std::uint16_t f16_from_float(float value);
float float_from_f16(std::uint16_t bits);

}  // namespace facet
