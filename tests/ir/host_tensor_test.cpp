#include "ir/host_tensor.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "tests/ir/error_of.h"

namespace facet::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double cast_one(double value, DType dtype) {
  return HostTensor::from_doubles({1}, {value}).cast(dtype).at(0);
}

TEST(HostTensor, StartsZeroedAndAligned) {
  const HostTensor tensor(DType::i32, {3, 5});
  EXPECT_EQ(tensor.element_count(), 15);
  EXPECT_EQ(tensor.byte_count(), 60);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data()) % 64, 0u);
  for (std::int64_t i = 0; i < 15; ++i) EXPECT_EQ(tensor.at(i), 0);
}

TEST(HostTensor, ShapesThatCannotBe) {
  const auto make = [](std::vector<std::int64_t> shape) {
    return error_of([&] { HostTensor(DType::f32, shape); }, ErrorKind::failure);
  };
  EXPECT_THAT(make({2, -1}), HasSubstr("[2, -1]"));
  EXPECT_THAT(make({1LL << 40, 1LL << 40}), HasSubstr("not possible"));
  EXPECT_THAT(make({(1LL << 61) + 1}), HasSubstr("too large"));
}

TEST(HostTensor, ZeroElementsAndScalars) {
  const HostTensor none(DType::f32, {4, 0});
  EXPECT_EQ(none.element_count(), 0);
  EXPECT_FALSE(none.empty());
  EXPECT_TRUE(none.to_doubles().empty());
  const HostTensor one = HostTensor::scalar(DType::f16, 0.5);
  EXPECT_EQ(one.rank(), 0);
  EXPECT_EQ(one.element_count(), 1);
  EXPECT_EQ(one.at(0), 0.5);
  EXPECT_TRUE(HostTensor().empty());
}

TEST(HostTensor, CopiesShareBytesAndClonesDoNot) {
  HostTensor first = HostTensor::from_floats({2}, {1, 2});
  const HostTensor copy = first;
  const HostTensor clone = first.clone();
  first.as_mutable<float>()[0] = 9;
  EXPECT_EQ(copy.at(0), 9);
  EXPECT_EQ(clone.at(0), 1);
  EXPECT_EQ(copy.data(), first.data());
}

TEST(HostTensor, NothingStaysNothing) {
  const HostTensor nothing;
  EXPECT_TRUE(nothing.clone().empty());
  EXPECT_TRUE(nothing.cast(DType::f64).empty());
  EXPECT_EQ(nothing.clone().element_count(), 0);
}

TEST(HostTensor, WrappedBytesLiveAsLongAsTheLastCopy) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{3, 4});
  const std::weak_ptr<std::vector<float>> watch = owner;
  HostTensor tensor(DType::f32, {2}, reinterpret_cast<const std::byte*>(owner->data()), owner);
  owner.reset();
  HostTensor view = tensor.reshaped({2, 1});
  tensor = HostTensor();
  EXPECT_THAT(view.to_doubles(), ElementsAre(3, 4));
  view = HostTensor();
  EXPECT_TRUE(watch.expired());
}

TEST(HostTensor, UnalignedBytesRead) {
  std::vector<std::byte> raw(9);
  const double value = -1.25;
  std::memcpy(raw.data() + 1, &value, sizeof(value));
  const HostTensor tensor(DType::f64, {1}, raw.data() + 1, nullptr);
  EXPECT_EQ(tensor.at(0), -1.25);
  EXPECT_EQ(tensor.cast(DType::f32).at(0), -1.25);
}

TEST(HostTensor, ReshapedKeepsTheCount) {
  const HostTensor tensor = HostTensor::from_floats({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(tensor.reshaped({3, 2}).to_doubles(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(error_of([&] { tensor.reshaped({4}); }), HasSubstr("[2, 3] as [4]"));
}

TEST(HostTensor, ValuesMustFillTheShape) {
  EXPECT_THAT(error_of([] { HostTensor::from_floats({2, 2}, {1, 2, 3}); }), HasSubstr("3 values"));
  // The count is checked before memory of that size is asked for.
  EXPECT_THAT(error_of([] { HostTensor::from_doubles({1LL << 50}, {1}); }), HasSubstr("1 values"));
  EXPECT_THAT(error_of([] { HostTensor::from_floats({1LL << 50}, {1}); }), HasSubstr("1 values"));
}

TEST(HostTensor, EveryDTypeHoldsSmallWholeNumbers) {
  const HostTensor numbers = HostTensor::from_doubles({4}, {0, 1, 7, 100});
  for (const DType from : {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i64, DType::i32,
                           DType::i8, DType::u8}) {
    const HostTensor source = numbers.cast(from);
    EXPECT_EQ(source.dtype(), from);
    for (const DType to : {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i64, DType::i32,
                           DType::i8, DType::u8}) {
      EXPECT_THAT(source.cast(to).to_doubles(), ElementsAre(0, 1, 7, 100))
          << to_string(from) << " to " << to_string(to);
    }
    EXPECT_THAT(source.cast(DType::boolean).to_doubles(), ElementsAre(0, 1, 1, 1));
  }
}

TEST(HostTensor, SameDTypeCastsToTheSameBytes) {
  const HostTensor tensor = HostTensor::from_floats({1}, {0.1f});
  EXPECT_EQ(tensor.cast(DType::f32).data(), tensor.data());
}

TEST(HostTensor, NegativeNumbersKeepTheirSign) {
  const HostTensor numbers = HostTensor::from_doubles({2}, {-1, -128});
  for (const DType to : {DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::i8}) {
    EXPECT_THAT(numbers.cast(to).to_doubles(), ElementsAre(-1, -128)) << to_string(to);
  }
}

TEST(HostTensor, IntegersTruncateSaturateAndTakeNanAsZero) {
  EXPECT_EQ(cast_one(2.7, DType::i32), 2);
  EXPECT_EQ(cast_one(-2.7, DType::i64), -2);
  EXPECT_EQ(cast_one(300, DType::u8), 255);
  EXPECT_EQ(cast_one(-3, DType::u8), 0);
  EXPECT_EQ(cast_one(-300, DType::i8), -128);
  EXPECT_EQ(cast_one(1e30, DType::i32), 2147483647);
  EXPECT_EQ(cast_one(kInfinity, DType::i64), 0x1p63);
  EXPECT_EQ(cast_one(-kInfinity, DType::i64), -0x1p63);
  EXPECT_EQ(cast_one(kNan, DType::i8), 0);
  EXPECT_EQ(cast_one(127.9, DType::i8), 127);
  EXPECT_EQ(cast_one(-0.5, DType::u8), 0);
}

TEST(HostTensor, LargeIntegersCastToIntegersExactly) {
  HostTensor wide(DType::i64, {2});
  wide.as_mutable<std::int64_t>()[0] = (1LL << 53) + 1;
  wide.as_mutable<std::int64_t>()[1] = 5000000000;
  EXPECT_EQ(wide.clone().as<std::int64_t>()[0], (1LL << 53) + 1);
  EXPECT_EQ(wide.cast(DType::i32).at(1), 2147483647);
}

/// A double just beside a tie of the narrow type: rounding to f32 first would make it a tie and
/// lose the side it is on.
TEST(HostTensor, DoublesRoundOnce) {
  const double brain_tie = 1 + 0x1p-8;
  EXPECT_EQ(cast_one(brain_tie, DType::bf16), 1);
  EXPECT_EQ(cast_one(brain_tie + 0x1p-40, DType::bf16), 1 + 0x1p-7);
  EXPECT_EQ(cast_one(-brain_tie - 0x1p-40, DType::bf16), -1 - 0x1p-7);
  EXPECT_EQ(cast_one(1 + 3 * 0x1p-8 - 0x1p-40, DType::bf16), 1 + 0x1p-7);
  const double half_tie = 1 + 0x1p-11;
  EXPECT_EQ(cast_one(half_tie, DType::f16), 1);
  EXPECT_EQ(cast_one(half_tie + 0x1p-45, DType::f16), 1 + 0x1p-10);
  EXPECT_EQ(cast_one(1 + 3 * 0x1p-11 - 0x1p-45, DType::f16), 1 + 0x1p-10);
  EXPECT_EQ(cast_one(0x1p-25 + 0x1p-60, DType::f16), 0x1p-24);
  EXPECT_EQ(cast_one(65520 - 0x1p-30, DType::f16), 65504);
  EXPECT_EQ(cast_one(1e300, DType::bf16), kInfinity);
  EXPECT_EQ(cast_one(1e300, DType::f16), kInfinity);
  EXPECT_EQ(cast_one(-1e-300, DType::bf16), 0);
  EXPECT_TRUE(std::isnan(cast_one(kNan, DType::bf16)));
  EXPECT_EQ(HostTensor::scalar(DType::bf16, brain_tie + 0x1p-40).at(0), 1 + 0x1p-7);
}

TEST(HostTensor, DoublesRoundToFloatAsTheProcessorDoes) {
  EXPECT_EQ(cast_one(0.1, DType::f32), static_cast<double>(0.1f));
  EXPECT_EQ(cast_one(1 + 0x1p-24, DType::f32), 1);
  EXPECT_EQ(cast_one(1 + 0x1p-24 + 0x1p-50, DType::f32), 1 + 0x1p-23);
}

}  // namespace
}  // namespace facet::test
