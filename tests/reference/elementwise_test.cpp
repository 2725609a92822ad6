#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/reference/evaluate_op.h"

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;

struct UnaryCase {
  const char* op;
  double x, y;
};

class UnaryTest : public ::testing::TestWithParam<UnaryCase> {};

TEST_P(UnaryTest, Value) {
  const auto& [op, x, y] = GetParam();
  EXPECT_NEAR(evaluate_op(op, {tensor({1}, {x})}).at(0), y, 1e-15) << op << "(" << x << ")";
}

INSTANTIATE_TEST_SUITE_P(
    Known, UnaryTest,
    ::testing::Values(UnaryCase{"relu", -2, 0}, UnaryCase{"relu", 2, 2},
                      UnaryCase{"sigmoid", 0, 0.5}, UnaryCase{"sigmoid", 1, 0.7310585786300049},
                      UnaryCase{"sigmoid", -800, 0}, UnaryCase{"tanh", 0.5, 0.46211715726000975},
                      UnaryCase{"exp", 1, 2.718281828459045},
                      UnaryCase{"log", 2, 0.6931471805599453},
                      UnaryCase{"sqrt", 2, 1.4142135623730951}, UnaryCase{"rsqrt", 4, 0.5},
                      UnaryCase{"reciprocal", -8, -0.125}, UnaryCase{"neg", 3, -3},
                      UnaryCase{"abs", -3, 3}, UnaryCase{"square", -3, 9},
                      UnaryCase{"erf", 0.5, 0.5204998778130465}),
    [](const auto& test) { return std::string(test.param.op) + "_" + std::to_string(test.index); });

TEST(Binary, KnownValues) {
  const HostTensor a = tensor({3}, {1, -2, 8});
  const HostTensor b = tensor({3}, {4, 3, 2});
  const std::pair<const char*, Numbers> cases[] = {
      {"add", {5, 1, 10}},          {"sub", {-3, -5, 6}},   {"mul", {4, -6, 16}},
      {"div", {0.25, -2.0 / 3, 4}}, {"maximum", {4, 3, 8}}, {"minimum", {1, -2, 2}},
      {"pow", {1, -8, 64}}};
  for (const auto& [op, expected] : cases) {
    EXPECT_EQ(evaluate_op(op, {a, b}).to_doubles(), expected) << op;
  }
}

TEST(Binary, BroadcastsBothWays) {
  const HostTensor a = tensor({2, 1, 2}, {1, 2, 3, 4});
  const HostTensor b = tensor({3, 1}, {10, 20, 30});
  const HostTensor y = evaluate_op("sub", {a, b});
  EXPECT_EQ(y.shape(), (std::vector<std::int64_t>{2, 3, 2}));
  EXPECT_EQ(y.to_doubles(), (Numbers{-9, -8, -19, -18, -29, -28, -7, -6, -17, -16, -27, -26}));
}

TEST(Binary, NaNComesThrough) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const char* op : {"maximum", "minimum", "add"}) {
    EXPECT_TRUE(std::isnan(evaluate_op(op, {tensor({1}, {nan}), tensor({1}, {1})}).at(0))) << op;
    EXPECT_TRUE(std::isnan(evaluate_op(op, {tensor({1}, {1}), tensor({1}, {nan})}).at(0))) << op;
  }
  EXPECT_TRUE(std::isnan(evaluate_op("relu", {tensor({1}, {nan})}).at(0)));
}

TEST(Binary, IntegersAreExact) {
  HostTensor big(DType::i64, {1});
  big.as_mutable<std::int64_t>()[0] = (std::int64_t{1} << 53) - 1;
  HostTensor one(DType::i64, {1});
  one.as_mutable<std::int64_t>()[0] = 1;
  EXPECT_EQ(evaluate_op("sub", {big, one}).at(0), 9007199254740990.0);
}

TEST(Clamp, Bounds) {
  EXPECT_EQ(evaluate_op("clamp", {tensor({3}, {-2, 0.1, 2})}, {{"min", -0.5}, {"max", 0.25}})
                .to_doubles(),
            (Numbers{-0.5, 0.1, 0.25}));
}

TEST(PRelu, SlopesRunAlongAxisOne) {
  const HostTensor x = tensor({1, 2, 2}, {-1, 2, -3, 4});
  EXPECT_EQ(evaluate_op("prelu", {x, tensor({2}, {0.5, 2})}).to_doubles(),
            (Numbers{-0.5, 2, -6, 4}));
  EXPECT_EQ(evaluate_op("prelu", {x, tensor({1}, {3})}).to_doubles(), (Numbers{-3, 2, -9, 4}));
}

TEST(Elementwise, RunsTheProgramOverValueNumbers) {
  const HostTensor x = tensor({2, 2}, {1, -2, 3, -4});
  const HostTensor y = tensor({2}, {10, 20});
  // (x + y) * -1 + x.
  EXPECT_EQ(evaluate_op("elementwise", {x, y},
                        {{"program", Strings{"add 0 1", "mul 2 #-1.0", "add 3 0"}}})
                .to_doubles(),
            (Numbers{-10, -20, -10, -20}));
}

TEST(Elementwise, BroadcastsOperandsAndLiterals) {
  const HostTensor gate = tensor({2, 1}, {2, 3});
  const HostTensor x = tensor({1, 2}, {-1, 1});
  EXPECT_EQ(evaluate_op("elementwise", {gate, x}, {{"program", Strings{"mul 1 0"}}}).to_doubles(),
            (Numbers{-2, 2, -3, 3}));
  EXPECT_EQ(
      evaluate_op("elementwise", {x}, {{"program", Strings{"sub #1 0", "square 1"}}}).to_doubles(),
      (Numbers{4, 0}));
}

TEST(Elementwise, ClampAndPreluLines) {
  const HostTensor x = tensor({4}, {-4, -1, 1, 4});
  const HostTensor slope = tensor({1}, {0.5});
  EXPECT_EQ(
      evaluate_op("elementwise", {x, slope}, {{"program", Strings{"prelu 0 1"}}}).to_doubles(),
      (Numbers{-2, -0.5, 1, 4}));
  EXPECT_EQ(evaluate_op("elementwise", {x}, {{"program", Strings{"clamp 0 #-2 #3"}}}).to_doubles(),
            (Numbers{-2, -1, 1, 3}));
}

}  // namespace
}  // namespace facet::testing
