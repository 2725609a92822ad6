#include "ir/attributes.h"

#include <gmock/gmock.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <random>

#include "ir/hash.h"
#include "tests/ir/error_of.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;

TEST(Attributes, EveryKindPrints) {
  EXPECT_EQ(to_string(Attribute(true)), "true");
  EXPECT_EQ(to_string(Attribute(false)), "false");
  EXPECT_EQ(to_string(Attribute(std::int64_t{-3})), "-3");
  EXPECT_EQ(to_string(Attribute(std::string("bias"))), "\"bias\"");
  EXPECT_EQ(to_string(Attribute(std::string("a\"b\\c\nd"))), "\"a\\\"b\\\\c\\nd\"");
  EXPECT_EQ(to_string(Attribute(Ints{1, -2})), "[1, -2]");
  EXPECT_EQ(to_string(Attribute(Doubles{1, 0.5})), "[1.0, 0.5]");
  EXPECT_EQ(to_string(Attribute(Strings{"bias", "relu"})), "[\"bias\", \"relu\"]");
  EXPECT_EQ(to_string(Attribute(Ints{})), "[]");
}

TEST(Attributes, NumbersPrintShortestAndNeverAsIntegers) {
  EXPECT_EQ(to_string(Attribute(1e-5)), "1e-05");
  EXPECT_EQ(to_string(Attribute(2.0)), "2.0");
  EXPECT_EQ(to_string(Attribute(-0.0)), "-0.0");
  EXPECT_EQ(to_string(Attribute(0.1)), "0.1");
  EXPECT_EQ(to_string(Attribute(std::numeric_limits<double>::infinity())), "inf");
  std::mt19937_64 random(3);
  for (int i = 0; i < 10000; ++i) {
    const auto value = std::bit_cast<double>(random());
    if (std::isnan(value)) continue;
    const std::string text = to_string(Attribute(value));
    double back = 0;
    std::from_chars(text.data(), text.data() + text.size(), back);
    ASSERT_EQ(back, value) << text;
    ASSERT_NE(text.find_first_of(".einf"), std::string::npos) << text;
  }
}

TEST(Attributes, TensorsPrintTheirValuesOrTheirHash) {
  EXPECT_EQ(to_string(Attribute(HostTensor::from_floats({2}, {1, 0.5}))),
            "tensor<f32[2]; [1.0, 0.5]>");
  EXPECT_EQ(to_string(Attribute(HostTensor::scalar(DType::i64, 7))), "tensor<i64[]; [7.0]>");
  std::vector<float> squares(65);
  for (std::size_t i = 0; i < squares.size(); ++i) squares[i] = static_cast<float>(i * i);
  const HostTensor large = HostTensor::from_floats({65}, squares);
  EXPECT_THAT(to_string(Attribute(large)),
              ::testing::MatchesRegex("tensor<f32.65.; hash [0-9a-f]+>"));
}

TEST(Attributes, EqualityLooksAtKindAndContent) {
  EXPECT_TRUE(equal(std::int64_t{1}, std::int64_t{1}));
  EXPECT_FALSE(equal(std::int64_t{1}, 1.0));
  EXPECT_FALSE(equal(true, std::int64_t{1}));
  EXPECT_FALSE(equal(Ints{}, Strings{}));
  EXPECT_TRUE(equal(Strings{"a"}, Strings{"a"}));
  EXPECT_FALSE(equal(Strings{"a"}, Strings{"b"}));
}

TEST(Attributes, TensorsAreEqualByDTypeShapeAndBytes) {
  const HostTensor tensor = HostTensor::from_floats({2, 2}, {1, 2, 3, 4});
  EXPECT_TRUE(equal(tensor, tensor));
  EXPECT_TRUE(equal(tensor, tensor.clone()));
  EXPECT_FALSE(equal(tensor, tensor.reshaped({4})));
  EXPECT_FALSE(equal(tensor, HostTensor::from_floats({2, 2}, {1, 2, 3, 5})));
  EXPECT_FALSE(equal(tensor, tensor.cast(DType::f64)));
  // The same bytes under another dtype are other numbers.
  const HostTensor brain = HostTensor::from_floats({1}, {1}).cast(DType::bf16);
  const HostTensor half(DType::f16, {1}, brain.data(), std::make_shared<HostTensor>(brain));
  EXPECT_FALSE(equal(brain, half));
  EXPECT_FALSE(equal(HostTensor(), HostTensor::scalar(DType::f32, 0)));
  EXPECT_TRUE(equal(HostTensor(), HostTensor()));
}

TEST(Attributes, HashFollowsDTypeShapeAndBytes) {
  const HostTensor tensor = HostTensor::from_floats({2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(hash(tensor), hash(tensor.clone()));
  EXPECT_NE(hash(tensor), hash(tensor.reshaped({4})));
  EXPECT_NE(hash(tensor), hash(tensor.reshaped({1, 2, 2})));
  EXPECT_NE(hash(tensor), hash(HostTensor::from_floats({2, 2}, {1, 2, 3, -4})));
  EXPECT_NE(hash(HostTensor(DType::i32, {4})), hash(HostTensor(DType::f32, {4})));
}

TEST(Attributes, AccessorsNameWhatIsMissingOrOfAnotherKind) {
  Attributes attributes{{"axis", std::int64_t{2}}, {"dtype", std::string("bf16")}};
  EXPECT_EQ(attributes.integer("axis"), 2);
  EXPECT_EQ(attributes.text("dtype"), "bf16");
  EXPECT_THAT(error_of([&] { attributes.integer("axes"); }), HasSubstr("'axes' is missing"));
  EXPECT_THAT(error_of([&] { attributes.ints("axis"); }),
              HasSubstr("'axis' has the wrong kind: 2"));
  EXPECT_THAT(error_of([&] { attributes.number("axis"); }), HasSubstr("wrong kind"));
}

TEST(Attributes, SetEraseAndCompare) {
  Attributes a{{"x", true}};
  Attributes b{{"x", true}};
  EXPECT_EQ(a, b);
  b.set("x", false);
  EXPECT_FALSE(a == b);
  b.set("x", true);
  b.set("y", 1.0);
  EXPECT_FALSE(a == b);
  b.erase("y");
  b.erase("never set");
  EXPECT_EQ(a, b);
  EXPECT_FALSE(b.has("y"));
  a.erase("x");
  EXPECT_TRUE(a.empty());
}

TEST(Attributes, CameInAnyOrderStandSorted) {
  const Attributes attributes{{"b", true}, {"a", true}, {"c", true}};
  std::string names;
  for (const auto& [name, value] : attributes) names += name;
  EXPECT_EQ(names, "abc");
}

TEST(Hasher, TextBoundariesCount) {
  const auto of = [](std::initializer_list<std::string_view> texts) {
    Hasher hasher;
    for (const std::string_view text : texts) hasher.text(text);
    return hasher.value();
  };
  EXPECT_NE(of({"ab", "c"}), of({"a", "bc"}));
  EXPECT_NE(of({"", "a"}), of({"a", ""}));
  EXPECT_EQ(of({"long enough for words"}), of({"long enough for words"}));
}

}  // namespace
}  // namespace facet::test
