#include "ir/dtype.h"

#include <array>
#include <string>
#include <utility>

#include "ir/error.h"

namespace facet {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 9> kNames{{{DType::f32, "f32"},
                                                                   {DType::bf16, "bf16"},
                                                                   {DType::f16, "f16"},
                                                                   {DType::f64, "f64"},
                                                                   {DType::i64, "i64"},
                                                                   {DType::i32, "i32"},
                                                                   {DType::i8, "i8"},
                                                                   {DType::u8, "u8"},
                                                                   {DType::boolean, "bool"}}};

}  // namespace

std::string_view to_string(DType type) {
  for (const auto& [dtype, name] : kNames) {
    if (dtype == type) return name;
  }
  return "?";
}

DType parse_dtype(std::string_view name) {
  std::string known;
  for (const auto& [dtype, spelling] : kNames) {
    if (spelling == name) return dtype;
    known += known.empty() ? "" : ", ";
    known += spelling;
  }
  throw usage_error("unknown dtype '" + std::string(name) + "'; known: " + known);
}

std::uint16_t f16_from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u);
  if (magnitude >= 0x477FF000u) return static_cast<std::uint16_t>(sign | 0x7C00u);  // >= 65520
  if (magnitude < 0x38800000u) {  // below 2^-14: let float addition round to a multiple of 2^-24
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(aligned) - 0x3F000000u));
  }
  const std::uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

float float_from_f16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1Fu;
  const std::uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 0x1Fu) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

}  // namespace facet
