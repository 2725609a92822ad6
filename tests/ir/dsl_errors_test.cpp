#include <fmt/format.h>
#include <gmock/gmock.h>

#include "ir/dsl.h"
#include "tests/ir/error_of.h"

// clang-format off: the tests count lines, so breaks stay where they are

/// A mistake in a network must name the operands' types and the line of this file that made it.
namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// "dsl_errors_test.cpp:<line>": the place a message must name.
auto at_line(int line) { return HasSubstr(fmt::format("at dsl_errors_test.cpp:{}", line)); }

struct Canvas {
  Network net{"canvas"};
  Scope s = net.root();
  Tensor image = net.input("image", {"N", 4, 6, 6});
  Tensor rows = net.input("rows", {"N", 5, 8});
};

TEST(DslErrors, OperatorsNameBothTypesAndTheLine) {
  Canvas c;
  EXPECT_THAT(error_of([&] { c.image + c.rows; }),
              AllOf(HasSubstr("add(f32[N, 4, 6, 6], f32[N, 5, 8])"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { c.rows* c.image; }),
              AllOf(HasSubstr("mul(f32[N, 5, 8], f32[N, 4, 6, 6])"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { maximum(c.image, c.rows); }),
              AllOf(HasSubstr("maximum("), at_line(__LINE__ - 1)));
}

TEST(DslErrors, FunctionsNameTheirTypesAndTheLine) {
  Canvas c;
  EXPECT_THAT(error_of([&] { matmul(c.rows, c.rows); }),
              AllOf(HasSubstr("matmul(f32[N, 5, 8], f32[N, 5, 8])"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { concat({c.image, c.rows}, 1); }),
              AllOf(HasSubstr("concat(f32[N, 4, 6, 6], f32[N, 5, 8])"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { reshape(c.rows, {0, 7}); }),
              AllOf(HasSubstr("cannot reshape f32[N, 5, 8] to [N, 7]"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { transpose(c.rows, {0, 1}); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { slice(c.rows, 1, 3, 6); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { slice(c.rows, 0, 0, 1); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { softmax(c.rows, 3); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { mean(c.rows, {1, -2}); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { max_pool(c.rows, {}); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { avg_pool(c.image, {.kernel = 7}); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { clamp(c.rows, 1, 0); }), at_line(__LINE__));
  EXPECT_THAT(error_of([] { concat({}, 1); }),
              AllOf(HasSubstr("concat of no tensors"), at_line(__LINE__ - 1)));
}

TEST(DslErrors, LayersNameTheirTypesScopeAndTheLine) {
  Canvas c;
  const Scope block = c.s / "layer1";
  EXPECT_THAT(error_of([&] { block.conv("conv", c.rows, {.out = 4}); }),
              AllOf(HasSubstr("conv(f32[N, 5, 8], f32[4, 5, 1, 1], f32[4]) in layer1.conv"),
                    at_line(__LINE__ - 2)));
  EXPECT_THAT(error_of([&] { block.conv("big", c.image, {.out = 4, .kernel = 9}); }),
              AllOf(HasSubstr("window of 9 does not fit into an extent of 6"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { block.conv("odd", c.image, {.out = 4, .groups = 3}); }),
              AllOf(HasSubstr("x has 4 channels"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { block.conv("none", c.image, {.out = 4, .groups = 0}); }),
              AllOf(HasSubstr("groups 0"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { block.conv("still", c.image, {.out = 4, .stride = 0}); }),
              AllOf(HasSubstr("stride 0"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { block.conv("thin", c.image, {.out = 4, .kernel = 0}); }),
              AllOf(HasSubstr("extent of the weight 0"), at_line(__LINE__ - 1)));
}

TEST(DslErrors, OutputsMustBeGiven) {
  Canvas c;
  EXPECT_THAT(error_of([&] { (c.s / "layer1").conv("conv", c.image, {.kernel = 3}); }),
              AllOf(HasSubstr("layer 'layer1.conv'"), HasSubstr(".out"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { c.s.linear("fc", c.rows, {}); }),
              AllOf(HasSubstr("layer 'fc'"), HasSubstr(".out"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { c.s.linear("fc2", c.rows, {.out = -3}); }), HasSubstr(".out"));
}

TEST(DslErrors, ChannelsMustBeNumbers) {
  Canvas c;
  const Tensor wide = c.net.input("wide", {8, "N"});
  EXPECT_THAT(error_of([&] { c.s.batch_norm("bn", wide); }),
              AllOf(HasSubstr("axis 1 of f32[8, N] is symbolic"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { c.s.prelu("act", wide); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { c.s.linear("fc", wide, {.out = 2}); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { c.s.conv("conv", wide, {.out = 2}); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { wide.channels(); }), at_line(__LINE__));
  EXPECT_THAT(error_of([&] { wide.extent(2); }),
              AllOf(HasSubstr("axis 2 is outside f32[8, N]"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { wide.extent(-3); }), HasSubstr("axis -3 is outside"));
}

TEST(DslErrors, TwoNumbersAreNoTensor) {
  EXPECT_THAT(error_of([] { maximum(1, 2); }),
              AllOf(HasSubstr("'maximum' of two numbers"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([] { Operand(1.0) + Operand(2.0); }),
              AllOf(HasSubstr("'add' of two numbers"), at_line(__LINE__ - 1)));
}

TEST(DslErrors, ASecondDeclarationIsAMistakeUnlessShared) {
  Canvas c;
  c.s.conv("conv", c.image, {.out = 4});
  EXPECT_THAT(error_of([&] { c.s.conv("conv", c.image, {.out = 4}); }),
              AllOf(HasSubstr("'conv.weight' is declared twice"), HasSubstr("scope.shared()"),
                    at_line(__LINE__ - 2)));
  EXPECT_THAT(error_of([&] { c.s.parameter("conv.weight", {1}, {}); }),
              HasSubstr("'conv.weight' is declared twice"));
}

TEST(DslErrors, SharedParametersKeepTheirType) {
  Canvas c;
  const Scope shared = c.s.shared();
  shared.conv("conv", c.image, {.out = 4});
  EXPECT_THAT(error_of([&] { shared.conv("conv", c.image, {.out = 4, .kernel = 3}); }),
              AllOf(HasSubstr("'conv.weight' is f32[4, 4, 3, 3]"),
                    HasSubstr("declared as f32[4, 4, 1, 1]"), at_line(__LINE__ - 2)));
}

TEST(DslErrors, InputsAndOutputsHaveNamesOfTheirOwn) {
  Canvas c;
  EXPECT_THAT(error_of([&] { c.net.input("rows", {1}); }),
              AllOf(HasSubstr("a second input 'rows'"), at_line(__LINE__ - 1)));
  c.net.output("y", c.rows);
  EXPECT_THAT(error_of([&] { c.net.output("y", c.image); }),
              AllOf(HasSubstr("a second output 'y'"), at_line(__LINE__ - 1)));
}

TEST(DslErrors, InputShapesAreChecked) {
  Canvas c;
  EXPECT_THAT(error_of([&] { c.net.input("a", {"batch size", 3}); }),
              AllOf(HasSubstr("[batch size, 3]"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { c.net.input("b", {-1, 3}); }),
              AllOf(HasSubstr("negative"), at_line(__LINE__ - 1)));
}

TEST(DslErrors, TensorsOfTwoNetworksDoNotMix) {
  Canvas a;
  Canvas b;
  EXPECT_THAT(error_of([&] { a.rows + b.rows; }),
              AllOf(HasSubstr("an operand of another graph"), at_line(__LINE__ - 1)));
  EXPECT_THAT(error_of([&] { a.s.conv("conv", b.image, {.out = 1}); }), at_line(__LINE__));
}

}  // namespace
}  // namespace facet::test
