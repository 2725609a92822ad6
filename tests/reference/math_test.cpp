#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/reference/evaluate_op.h"

// Whole-number arithmetic, remainders, bits, extremes of nothing, lines and matrices, on numbers
// worked out by hand.

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;
using Extents = std::vector<std::int64_t>;

/// A vector of `dtype`.
HostTensor vector_of(DType dtype, const Numbers& values) {
  return tensor({static_cast<std::int64_t>(values.size())}, values).cast(dtype);
}

Numbers whole(std::string_view op, DType dtype, const Numbers& a, const Numbers& b,
              const Attributes& attributes = {}) {
  return evaluate_op(op, {vector_of(dtype, a), vector_of(dtype, b)}, attributes).to_doubles();
}

TEST(WholeNumbers, WrapAroundAsTheirTypeDoes) {
  EXPECT_EQ(whole("add", DType::u8, {250, 3}, {10, 4}), (Numbers{4, 7}));
  EXPECT_EQ(whole("sub", DType::u8, {3, 9}, {4, 9}), (Numbers{255, 0}));
  EXPECT_EQ(whole("mul", DType::i8, {100, -7}, {2, 3}), (Numbers{-56, -21}));
  EXPECT_EQ(whole("mul", DType::i32, {65536}, {65536}), (Numbers{0}));
  EXPECT_EQ(evaluate_op("neg", {vector_of(DType::i8, {-128, 5})}).to_doubles(),
            (Numbers{-128, -5}));
  EXPECT_EQ(
      evaluate_op("reduce_sum", {vector_of(DType::u8, {200, 100})}, {{"axes", Ints{0}}}).at(0), 44);
  EXPECT_EQ(evaluate_op("reduce_mean", {vector_of(DType::i32, {1, 2})}, {{"axes", Ints{0}}}).at(0),
            1);
}

TEST(WholeNumbers, DivideTowardsZeroAndSurviveZero) {
  EXPECT_EQ(whole("div", DType::i32, {7, -7, 7, 5}, {2, 2, -2, 0}), (Numbers{3, -3, -3, 0}));
  EXPECT_EQ(whole("div", DType::i32, {-2147483648.0}, {-1}), (Numbers{-2147483648.0}));
  EXPECT_EQ(whole("pow", DType::i32, {2, -3, 5, -1, 2}, {10, 3, 0, -3, -1}),
            (Numbers{1024, -27, 1, -1, 0}));
}

TEST(WholeNumbers, Remainders) {
  const Attributes truncated{{"truncated", true}};
  EXPECT_EQ(whole("mod", DType::i64, {7, -7, 7, -7, 4}, {3, 3, -3, -3, 0}),
            (Numbers{1, 2, -2, -1, 0}));
  EXPECT_EQ(whole("mod", DType::i64, {7, -7, 7, -7, 4}, {3, 3, -3, -3, 0}, truncated),
            (Numbers{1, -1, 1, -1, 0}));
  EXPECT_EQ(whole("mod", DType::f64, {5.5, -5.5, 5.5}, {2, 2, -2}), (Numbers{1.5, 0.5, -0.5}));
  EXPECT_EQ(whole("mod", DType::f64, {5.5, -5.5, 5.5}, {2, 2, -2}, truncated),
            (Numbers{1.5, -1.5, 1.5}));
}

TEST(WholeNumbers, Bits) {
  const auto bits = [](const char* function, DType dtype, const Numbers& a, const Numbers& b) {
    return whole("bitwise", dtype, a, b, {{"function", std::string(function)}});
  };
  EXPECT_EQ(bits("and", DType::u8, {12, 255}, {10, 15}), (Numbers{8, 15}));
  EXPECT_EQ(bits("or", DType::i32, {12, -8}, {10, 1}), (Numbers{14, -7}));
  EXPECT_EQ(bits("xor", DType::i8, {12, -1}, {10, 5}), (Numbers{6, -6}));
  EXPECT_EQ(bits("shift_left", DType::u8, {129, 1, 1}, {1, 3, 200}), (Numbers{2, 8, 0}));
  EXPECT_EQ(bits("shift_right", DType::u8, {129, 16}, {1, 3}), (Numbers{64, 2}));
  EXPECT_EQ(bits("xor", DType::boolean, {1, 1, 0}, {1, 0, 0}), (Numbers{0, 1, 0}));
}

TEST(Comparisons, GiveOneOrZeroInTheirType) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(whole("equal", DType::f64, {1, 2, nan}, {1, 3, nan}), (Numbers{1, 0, 0}));
  EXPECT_EQ(whole("greater_equal", DType::f64, {1, 2, nan, 0}, {1, 3, 0, nan}),
            (Numbers{1, 0, 0, 0}));
  EXPECT_EQ(whole("equal", DType::boolean, {1, 0, 1}, {1, 1, 0}), (Numbers{1, 0, 0}));
}

TEST(Rounding, HalvesGoToTheEvenNumber) {
  const HostTensor x = tensor({6}, {-2.5, -1.5, -0.5, 0.5, 1.5, 2.5});
  EXPECT_EQ(evaluate_op("round", {x}).to_doubles(), (Numbers{-2, -2, 0, 0, 2, 2}));
  EXPECT_EQ(evaluate_op("floor", {x}).to_doubles(), (Numbers{-3, -2, -1, 0, 1, 2}));
  EXPECT_EQ(evaluate_op("ceil", {x}).to_doubles(), (Numbers{-2, -1, 0, 1, 2, 3}));
  EXPECT_EQ(evaluate_op("sign", {x}).to_doubles(), (Numbers{-1, -1, -1, 1, 1, 1}));
}

TEST(Reduce, SmallestAndProduct) {
  const HostTensor x = tensor({2, 3}, {3, -1, 2, 4, 0.5, -2});
  EXPECT_EQ(evaluate_op("reduce_min", {x}, {{"axes", Ints{1}}}).to_doubles(), (Numbers{-1, -2}));
  EXPECT_EQ(evaluate_op("reduce_prod", {x}, {{"axes", Ints{1}}}).to_doubles(), (Numbers{-6, -4}));
}

TEST(Reduce, OfNothing) {
  const double inf = std::numeric_limits<double>::infinity();
  const HostTensor none(DType::f64, {2, 0});
  const Attributes axes{{"axes", Ints{1}}};
  EXPECT_EQ(evaluate_op("reduce_sum", {none}, axes).to_doubles(), (Numbers{0, 0}));
  EXPECT_EQ(evaluate_op("reduce_prod", {none}, axes).to_doubles(), (Numbers{1, 1}));
  EXPECT_EQ(evaluate_op("reduce_max", {none}, axes).to_doubles(), (Numbers{-inf, -inf}));
  EXPECT_EQ(evaluate_op("reduce_min", {none}, axes).to_doubles(), (Numbers{inf, inf}));
  EXPECT_EQ(evaluate_op("reduce_max", {HostTensor(DType::i8, {1, 0})}, axes).at(0), -128);
  EXPECT_EQ(evaluate_op("reduce_min", {HostTensor(DType::u8, {1, 0})}, axes).at(0), 255);
}

/// One zero among the factors: only its own share is not 0.
TEST(Reduce, SharesOfAProductWithAZero) {
  const HostTensor dx = evaluate_op("reduce_prod_bwd", {tensor({1}, {2}), tensor({3}, {3, 0, 5})},
                                    {{"axes", Ints{0}}});
  EXPECT_EQ(dx.to_doubles(), (Numbers{0, 30, 0}));
}

TEST(Lines, PositionsOfExtremes) {
  const HostTensor x = tensor({2, 4}, {1, 7, 7, 2, 5, 0, 0, 5});
  const Attributes last{{"axis", std::int64_t{1}}, {"select_last_index", true}};
  EXPECT_EQ(evaluate_op("arg_max", {x}, {{"axis", std::int64_t{1}}}).to_doubles(), (Numbers{1, 0}));
  EXPECT_EQ(evaluate_op("arg_max", {x}, last).to_doubles(), (Numbers{2, 3}));
  EXPECT_EQ(evaluate_op("arg_min", {x}, last).to_doubles(), (Numbers{0, 2}));
  const HostTensor columns = evaluate_op("arg_min", {x}, {{"keepdims", false}});
  EXPECT_EQ(columns.shape(), (Extents{4}));
  EXPECT_EQ(columns.to_doubles(), (Numbers{0, 1, 1, 0}));
}

TEST(Lines, RunningSums) {
  const HostTensor x = tensor({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto sums = [&](bool exclusive, bool reverse) {
    return evaluate_op("cum_sum", {x},
                       {{"axis", std::int64_t{1}}, {"exclusive", exclusive}, {"reverse", reverse}})
        .to_doubles();
  };
  EXPECT_EQ(sums(false, false), (Numbers{1, 3, 6, 4, 9, 15}));
  EXPECT_EQ(sums(true, false), (Numbers{0, 1, 3, 0, 4, 9}));
  EXPECT_EQ(sums(false, true), (Numbers{6, 5, 3, 15, 11, 6}));
  EXPECT_EQ(sums(true, true), (Numbers{5, 3, 0, 11, 6, 0}));
}

TEST(Lines, OneHotRows) {
  const HostTensor indices = vector_of(DType::i64, {2, -3, 5});
  EXPECT_EQ(evaluate_op("one_hot", {indices}, {{"depth", std::int64_t{3}}}).to_doubles(),
            (Numbers{0, 0, 1, 1, 0, 0, 0, 0, 0}));
  const HostTensor columns =
      evaluate_op("one_hot", {indices}, {{"depth", std::int64_t{3}}, {"axis", std::int64_t{0}}});
  EXPECT_EQ(columns.to_doubles(), (Numbers{0, 1, 0, 0, 0, 0, 1, 0, 0}));
}

TEST(Lines, LogSoftmaxOfLargeNumbers) {
  const HostTensor y = evaluate_op("log_softmax", {tensor({1, 2}, {10000, 10000 + std::log(3)})});
  EXPECT_NEAR(y.at(0), std::log(0.25), 1e-9);
  EXPECT_NEAR(y.at(1), std::log(0.75), 1e-9);
}

TEST(Matrices, Triangles) {
  const HostTensor x = tensor({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto triangle = [&](bool upper, std::int64_t diagonal) {
    return evaluate_op("triangle", {x}, {{"upper", upper}, {"diagonal", diagonal}}).to_doubles();
  };
  EXPECT_EQ(triangle(true, 0), (Numbers{1, 2, 3, 0, 5, 6}));
  EXPECT_EQ(triangle(false, 0), (Numbers{1, 0, 0, 4, 5, 0}));
  EXPECT_EQ(triangle(true, 2), (Numbers{0, 0, 3, 0, 0, 0}));
  EXPECT_EQ(triangle(false, -1), (Numbers{0, 0, 0, 4, 0, 0}));
}

TEST(Matrices, Determinants) {
  EXPECT_NEAR(evaluate_op("det", {tensor({3, 3}, {0, 2, 1, 1, 0, 3, 4, 1, 0})}).at(0), 25, 1e-12);
  EXPECT_EQ(evaluate_op("det", {tensor({2, 2}, {1, 2, 2, 4})}).at(0), 0);
}

}  // namespace
}  // namespace facet::testing
