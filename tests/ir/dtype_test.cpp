#include "ir/dtype.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/ir/error_of.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;

constexpr DType kAll[] = {DType::f32, DType::bf16, DType::f16, DType::f64,    DType::i64,
                          DType::i32, DType::i8,   DType::u8,  DType::boolean};

/// A 16-bit float as IEEE 754 defines it: sign, `exponent_bits`, the rest mantissa.
struct Format {
  int exponent_bits;
  int mantissa_bits;

  std::uint32_t infinity() const { return ((1u << exponent_bits) - 1) << mantissa_bits; }
  /// The value of a pattern without sign, finite or not; the first one past the largest finite
  /// value gives the power of two that rounding to infinity is measured against.
  double magnitude(std::uint32_t bits) const {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = static_cast<int>(bits >> mantissa_bits);
    const double fraction = static_cast<double>(bits & ((1u << mantissa_bits) - 1));
    if (exponent == 0) return std::ldexp(fraction, 1 - bias - mantissa_bits);
    return std::ldexp(fraction + std::ldexp(1.0, mantissa_bits), exponent - bias - mantissa_bits);
  }
  /// The nearest pattern, of two equally near ones the even one, found by search.
  std::uint32_t nearest(double value) const {
    std::uint32_t low = 0;
    std::uint32_t high = infinity();
    while (high - low > 1) {
      const std::uint32_t middle = (low + high) / 2;
      (magnitude(middle) <= value ? low : high) = middle;
    }
    const double below = value - magnitude(low);
    const double above = magnitude(high) - value;
    if (below == above) return low % 2 == 0 ? low : high;
    return below < above ? low : high;
  }
};

constexpr Format kHalf{5, 10};
constexpr Format kBrain{8, 7};

void expect_rounding(const Format& format, float value, std::uint16_t (*round)(float)) {
  const std::uint32_t expected =
      std::isinf(value) ? format.infinity() : format.nearest(std::fabs(static_cast<double>(value)));
  EXPECT_EQ(round(value) & 0x7FFFu, expected) << value;
  EXPECT_EQ(round(value) >> 15, std::signbit(value) ? 1u : 0u) << value;
}

/// Every representable value, every tie between neighbours, and the floats beside each tie.
void expect_all_ties_round_to_even(const Format& format, std::uint16_t (*round)(float)) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (std::uint32_t bits = 0; bits < format.infinity(); ++bits) {
    const double low = format.magnitude(bits);
    // Halved first: the sum may exceed the largest float, the tie itself does not.
    const auto tie = static_cast<float>(low / 2 + format.magnitude(bits + 1) / 2);
    for (const float value : {static_cast<float>(low), tie, std::nextafter(tie, 0.0f),
                              std::nextafter(tie, kInfinity)}) {
      expect_rounding(format, value, round);
      expect_rounding(format, -value, round);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

void expect_random_rounding(const Format& format, std::uint16_t (*round)(float)) {
  std::mt19937 random(7);
  for (int i = 0; i < 200000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isnan(value)) continue;
    expect_rounding(format, value, round);
    if (::testing::Test::HasFailure()) return;
  }
}

void expect_every_pattern_reads_back(const Format& format, float (*widen)(std::uint16_t),
                                     std::uint16_t (*round)(float)) {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const auto pattern = static_cast<std::uint16_t>(bits);
    const float value = widen(pattern);
    const std::uint32_t unsigned_bits = bits & 0x7FFFu;
    if (unsigned_bits > format.infinity()) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(widen(round(value)))) << bits;
      continue;
    }
    const double expected = unsigned_bits == format.infinity()
                                ? std::numeric_limits<double>::infinity()
                                : format.magnitude(unsigned_bits);
    ASSERT_EQ(std::fabs(static_cast<double>(value)), expected) << bits;
    ASSERT_EQ(std::signbit(value), bits >= 0x8000u) << bits;
    ASSERT_EQ(round(value), pattern) << bits;
  }
}

TEST(DType, NamesReadBack) {
  for (const DType type : kAll) EXPECT_EQ(parse_dtype(to_string(type)), type);
}

TEST(DType, AnUnknownNameListsTheKnownOnes) {
  for (const char* name : {"", "f33", "F32", " f32", "float", "f32 "}) {
    const std::string message = error_of([&] { parse_dtype(name); });
    EXPECT_THAT(message, HasSubstr("unknown dtype '" + std::string(name) + "'"));
    for (const DType type : kAll) EXPECT_THAT(message, HasSubstr(std::string(to_string(type))));
  }
}

TEST(DType, SizesAndFloats) {
  const std::vector<std::int64_t> sizes{4, 2, 2, 8, 8, 4, 1, 1, 1};
  for (std::size_t i = 0; i < sizes.size(); ++i) EXPECT_EQ(size_of(kAll[i]), sizes[i]);
  EXPECT_EQ(std::count_if(std::begin(kAll), std::end(kAll), is_float), 4);
  EXPECT_FALSE(is_float(DType::i8));
}

TEST(DType, EveryHalfPatternReadsBack) {
  expect_every_pattern_reads_back(kHalf, float_from_f16, f16_from_float);
}
TEST(DType, EveryBrainPatternReadsBack) {
  expect_every_pattern_reads_back(kBrain, float_from_bf16, bf16_from_float);
}
TEST(DType, HalfRoundsToNearestEven) {
  expect_all_ties_round_to_even(kHalf, f16_from_float);
  expect_random_rounding(kHalf, f16_from_float);
}
TEST(DType, BrainRoundsToNearestEven) {
  expect_all_ties_round_to_even(kBrain, bf16_from_float);
  expect_random_rounding(kBrain, bf16_from_float);
}

TEST(DType, KnownPatterns) {
  EXPECT_EQ(f16_from_float(1.0f), 0x3C00);
  EXPECT_EQ(f16_from_float(-2.0f), 0xC000);
  EXPECT_EQ(f16_from_float(65504.0f), 0x7BFF);
  EXPECT_EQ(f16_from_float(65520.0f), 0x7C00);
  EXPECT_EQ(f16_from_float(0x1p-24f), 0x0001);
  EXPECT_EQ(f16_from_float(0x1p-25f), 0x0000);
  EXPECT_EQ(bf16_from_float(1.0f), 0x3F80);
  EXPECT_EQ(bf16_from_float(3.1415927f), 0x4049);
  EXPECT_EQ(bf16_from_float(std::numeric_limits<float>::max()), 0x7F80);
}

TEST(DType, SignallingNanStaysNan) {
  // The payload is in the low bits only: cutting them off would leave an infinity.
  const auto signalling = std::bit_cast<float>(0x7F800001u);
  EXPECT_TRUE(std::isnan(float_from_bf16(bf16_from_float(signalling))));
  EXPECT_TRUE(std::isnan(float_from_f16(f16_from_float(signalling))));
}

}  // namespace
}  // namespace facet::test
