#include "ir/type.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/ir/error_of.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kHuge = 1LL << 62;

TEST(Dim, NumbersSymbolsAndMultiples) {
  EXPECT_EQ(to_string(Dim(64)), "64");
  EXPECT_EQ(to_string(Dim("N")), "N");
  EXPECT_EQ(to_string(Dim("N", 49)), "49*N");
  EXPECT_TRUE(Dim(3).is_static());
  EXPECT_FALSE(Dim("N").is_static());
  EXPECT_EQ(Dim("N"), Dim("N", 1));
  EXPECT_NE(Dim("N"), Dim("M"));
  EXPECT_NE(Dim("N", 2), Dim("N", 3));
  EXPECT_NE(Dim("N", 2), Dim(2));
}

TEST(Shape, PrintsItsExtents) {
  EXPECT_EQ(to_string(Shape{"N", 64, Dim("N", 2)}), "[N, 64, 2*N]");
  EXPECT_EQ(to_string(Shape{}), "[]");
}

TEST(Shape, StaticExtents) {
  EXPECT_TRUE(is_static(Shape{}));
  EXPECT_TRUE(is_static(Shape{2, 3}));
  EXPECT_FALSE(is_static(Shape{"N", 3}));
  EXPECT_THAT(static_extents({2, 3}), ElementsAre(2, 3));
  EXPECT_THAT(error_of([] {
                static_extents({"batch", 3});
              }),
              AllOf(HasSubstr("[batch, 3]"), HasSubstr("the symbol batch")));
}

TEST(Shape, ElementCountCarriesOneSymbol) {
  EXPECT_EQ(element_count(Shape{}), Dim(1));
  EXPECT_EQ(element_count(Shape{2, 3, 5}), Dim(30));
  EXPECT_EQ(element_count(Shape{2, "N", 5}), Dim("N", 10));
  EXPECT_EQ(element_count(Shape{Dim("N", 7), 7}), Dim("N", 49));
  EXPECT_EQ(element_count(Shape{4, 0}), Dim(0));
}

TEST(Shape, ElementCountRefusesTwoSymbolsAndOverflow) {
  EXPECT_THAT(error_of([] { element_count(Shape{"N", 2, "M"}); }), HasSubstr("[N, 2, M]"));
  EXPECT_THAT(error_of([] { element_count(Shape{"N", "N"}); }), HasSubstr("two symbols"));
  EXPECT_THAT(error_of([] { element_count(Shape{kHuge, 3}); }), HasSubstr("overflows"));
}

struct BroadcastCase {
  Shape a, b, expected;
};

TEST(Shape, BroadcastsAsNumPyDoes) {
  const std::vector<BroadcastCase> cases{
      {{}, {}, {}},
      {{}, {2, 3}, {2, 3}},
      {{3}, {2, 3}, {2, 3}},
      {{1}, {2, 3}, {2, 3}},
      {{2, 1}, {1, 3}, {2, 3}},
      {{4, 1, 3}, {2, 1}, {4, 2, 3}},
      {{"N", 64, 7, 7}, {64, 1, 1}, {"N", 64, 7, 7}},
      {{"N", 64, 7, 7}, {"N", 1, 7, 7}, {"N", 64, 7, 7}},
      {{1, 3}, {"N", 1}, {"N", 3}},
      {{Dim("N", 4), 5}, {Dim("N", 4), 1}, {Dim("N", 4), 5}},
      {{0, 3}, {1, 3}, {0, 3}},
  };
  for (const BroadcastCase& c : cases) {
    EXPECT_EQ(broadcast(c.a, c.b), c.expected) << to_string(c.a) << " " << to_string(c.b);
    EXPECT_EQ(broadcast(c.b, c.a), c.expected) << to_string(c.b) << " " << to_string(c.a);
  }
}

TEST(Shape, BroadcastNamesBothShapesAndTheAxis) {
  const auto message = [](const Shape& a, const Shape& b) {
    return error_of([&] { broadcast(a, b); });
  };
  EXPECT_EQ(message({2, 64, 7}, {32, 7}),
            "shapes [2, 64, 7] and [32, 7] do not broadcast: axis 1 is 64 and 32");
  EXPECT_THAT(message({"N", 3}, {"M", 3}), HasSubstr("axis 0 is N and M"));
  EXPECT_THAT(message({"N", 3}, {2, 3}), HasSubstr("axis 0 is N and 2"));
  EXPECT_THAT(message({"N"}, {Dim("N", 2)}), HasSubstr("axis 0 is N and 2*N"));
  EXPECT_THAT(message({0}, {2}), HasSubstr("axis 0 is 0 and 2"));
}

TEST(Type, PrintsAndReadsBack) {
  const std::vector<Type> types{
      {DType::f32, {}, ""},
      {DType::bf16, {2, 3}, ""},
      {DType::i64, {0}, ""},
      {DType::f32, {"N", 3, 112, 112}, ""},
      {DType::f32, {Dim("batch_2", 49), 8}, ""},
      {DType::u8, {"N", 64, 56, 56}, "acdb"},
      {DType::f32, {1, 64, 2, 2}, "aBcd16b"},
      {DType::boolean, {kHuge}, ""},
  };
  for (const Type& type : types) EXPECT_EQ(parse_type(to_string(type)), type) << to_string(type);
  EXPECT_EQ(to_string(types[3]), "f32[N, 3, 112, 112]");
  EXPECT_EQ(to_string(types[4]), "f32[49*batch_2, 8]");
  EXPECT_EQ(to_string(types[5]), "u8[N, 64, 56, 56]@acdb");
}

TEST(Type, ReadsAnySpacing) {
  EXPECT_EQ(parse_type("f32[2,3]"), (Type{DType::f32, {2, 3}, ""}));
  EXPECT_EQ(parse_type("f32[ 2 ,  N ]"), (Type{DType::f32, {2, "N"}, ""}));
  EXPECT_EQ(parse_type("f32[ ]"), (Type{DType::f32, {}, ""}));
  EXPECT_EQ(parse_type("f32[1*N]"), (Type{DType::f32, {"N"}, ""}));
}

TEST(Type, RefusesWhatIsNoType) {
  for (const char* text : {"",           "f32",      "f32[",       "f32]",
                           "f32]1[",     "[1]",      "f33[1]",     "f32[-1]",
                           "f32[1,]",    "f32[,1]",  "f32[,]",     "f32[1 2]",
                           "f32[2*]",    "f32[2xN]", "f32[2 N]",   "f32[N-1]",
                           "f32[*N]",    "f32[2*3]", "f32[2*3*N]", "f32[N N]",
                           "f32[1.5]",   "f32[+1]",  "f32[1]x",    "f32[1]@",
                           "f32[1]@a b", "f32[1]@-", "f32[1]]",    "f32[[1]",
                           "f32 [1]",    " f32[1]",  "f32[1] ",    "f32[99999999999999999999]",
                           "f32[\"N\"]", "f32[-N]",  "f32[-2*N]"}) {
    EXPECT_FALSE(error_of([&] { parse_type(text); }).empty()) << text;
  }
}

TEST(Type, ErrorsSayWhatIsWrongAndShowAnExample) {
  EXPECT_THAT(error_of([] { parse_type("f32[-1]"); }),
              AllOf(HasSubstr("'f32[-1]' is not a type"), HasSubstr("negative"),
                    HasSubstr("f32[N, 3, 112, 112]")));
  EXPECT_THAT(error_of([] { parse_type("f32"); }), HasSubstr("no [shape]"));
  EXPECT_THAT(error_of([] { parse_type("f23[1]"); }), HasSubstr("unknown dtype 'f23'"));
  EXPECT_THAT(error_of([] { parse_type("f32[99999999999999999999]"); }), HasSubstr("out of range"));
}

/// Random texts from the alphabet of types, and small changes of good ones: each is refused with an
/// Error or reads back as what it prints.
TEST(Type, RandomTextsNeverCrash) {
  constexpr std::string_view kAlphabet = "f3216bi8u64ol[],*@ -N0_acdb\"";
  std::mt19937 random(11);
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = i % 2 == 0 ? "f32[N, 3, 49*N]@acdb" : "bool[12]";
    if (i % 5 == 0) text.clear();
    for (std::size_t edits = 1 + pick(4); edits > 0; --edits) {
      const std::size_t at = pick(text.size() + 1);
      if (pick(3) != 0) {
        text.insert(at, 1, kAlphabet[pick(kAlphabet.size())]);
      } else if (at < text.size()) {
        text.erase(at, 1 + pick(3));
      }
    }
    try {
      const Type type = parse_type(text);
      EXPECT_EQ(parse_type(to_string(type)), type) << text;
      ++accepted;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
    }
    try {
      EXPECT_EQ(to_string(parse_dtype(text)), text);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
    }
  }
  EXPECT_GT(accepted, 500);  // or the loop would only test refusals
}

}  // namespace
}  // namespace facet::test
