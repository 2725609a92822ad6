#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;

constexpr std::string_view kPass = "canonicalize";

// One identity after the other: every reader ends up at the input.
TEST(Canonicalize, IdentitiesVanish) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4, 3]"} : f32[N, 4, 3]
  %1 = constant() {value = tensor<f32[]; [0.0]>} : f32[]
  %2 = constant() {value = tensor<f32[1, 1]; [1.0]>} : f32[1, 1]
  %3 = reshape(%0) {shape = [0, 4, -1]} : f32[N, 4, 3]
  %4 = cast(%3) {dtype = "f32"} : f32[N, 4, 3]
  %5 = transpose(%4) {permutation = [0, 1, 2]} : f32[N, 4, 3]
  %6 = slice(%5) {axis = 1, end = 4, start = 0} : f32[N, 4, 3]
  %7 = concat(%6) {axis = 2} : f32[N, 4, 3]
  %8 = add(%7, %1) : f32[N, 4, 3]
  %9 = sub(%8, %1) : f32[N, 4, 3]
  %10 = mul(%9, %2) : f32[N, 4, 3]
  %11 = div(%10, %2) : f32[N, 4, 3]
  %12 = exp(%11) : f32[N, 4, 3]
  return "y" = %12
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4, 3]"} : f32[N, 4, 3]
  %1 = constant() {value = tensor<f32[]; [0.0]>} : f32[]
  %2 = constant() {value = tensor<f32[1, 1]; [1.0]>} : f32[1, 1]
  %3 = exp(%0) : f32[N, 4, 3]
  return "y" = %3
)");
}

// The constant is on the left: it moves to the right, then it is an identity.
TEST(Canonicalize, IdentityWithTheConstantFirst) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = constant() {value = tensor<f32[]; [0.0]>} : f32[]
  %2 = add(%1, %0) : f32[N, 4]
  return "y" = %2
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = constant() {value = tensor<f32[]; [0.0]>} : f32[]
  return "y" = %0
)");
}

TEST(Canonicalize, ReshapesAndTransposesMerge) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 3, 4]"} : f32[N, 2, 3, 4]
  %1 = reshape(%0) {shape = [0, 6, 4]} : f32[N, 6, 4]
  %2 = reshape(%1) {shape = [0, -1]} : f32[N, 24]
  %3 = reshape(%2) {shape = [-1]} : f32[24*N]
  %4 = transpose(%0) {permutation = [0, 2, 3, 1]} : f32[N, 3, 4, 2]
  %5 = transpose(%4) {permutation = [3, 0, 2, 1]} : f32[2, N, 4, 3]
  return "flat" = %3, "turned" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 3, 4]"} : f32[N, 2, 3, 4]
  %1 = reshape(%0) {shape = [-1]} : f32[24*N]
  %2 = transpose(%0) {permutation = [1, 0, 3, 2]} : f32[2, N, 4, 3]
  return "flat" = %1, "turned" = %2
)");
}

TEST(Canonicalize, ATransposeAndItsInverseVanish) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 3]"} : f32[N, 2, 3]
  %1 = transpose(%0) {permutation = [1, 2, 0]} : f32[2, 3, N]
  %2 = transpose(%1) {permutation = [2, 0, 1]} : f32[N, 2, 3]
  %3 = reshape(%2) {shape = [-1, 3]} : f32[2*N, 3]
  %4 = reshape(%3) {shape = [-1, 2, 3]} : f32[N, 2, 3]
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 3]"} : f32[N, 2, 3]
  return "y" = %0
)");
}

// Another reader keeps the first reshape; the second one still reads past it.
TEST(Canonicalize, ASharedReshapeStaysForItsOtherReader) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 3]"} : f32[N, 2, 3]
  %1 = reshape(%0) {shape = [0, 6]} : f32[N, 6]
  %2 = reshape(%1) {shape = [-1]} : f32[6*N]
  return "a" = %1, "b" = %2
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 3]"} : f32[N, 2, 3]
  %1 = reshape(%0) {shape = [0, 6]} : f32[N, 6]
  %2 = reshape(%0) {shape = [-1]} : f32[6*N]
  return "a" = %1, "b" = %2
)");
}

TEST(Canonicalize, PreparedOperandsComeSecond) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = parameter() {key = "p", type = "f32[4]"} : f32[4]
  %2 = exp(%1) : f32[4]
  %3 = add(%2, %0) : f32[N, 4]
  %4 = mul(%1, %3) : f32[N, 4]
  %5 = maximum(%1, %4) : f32[N, 4]
  %6 = minimum(%2, %5) : f32[N, 4]
  return "y" = %6
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = parameter() {key = "p", type = "f32[4]"} : f32[4]
  %2 = exp(%1) : f32[4]
  %3 = add(%0, %2) : f32[N, 4]
  %4 = mul(%3, %1) : f32[N, 4]
  %5 = maximum(%4, %1) : f32[N, 4]
  %6 = minimum(%5, %2) : f32[N, 4]
  return "y" = %6
)");
}

TEST(Canonicalize, AveragePoolOfTheWholeMapIsAMean) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 7]"} : f32[N, 2, 5, 7]
  %1 = avg_pool(%0) {kernel = [5, 7], strides = [3, 3]} : f32[N, 2, 1, 1] @ "pool"
  return "y" = %1
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 7]"} : f32[N, 2, 5, 7]
  %1 = reduce_mean(%0) {axes = [2, 3]} : f32[N, 2, 1, 1] @ "pool"
  return "y" = %1
)");
}

TEST(Canonicalize, AxesCountFromTheFrontInOrder) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 6]"} : f32[N, 2, 5, 6]
  %1 = reduce_mean(%0) {axes = [-1, 1]} : f32[N, 1, 5, 1]
  %2 = reduce_max(%0) {axes = [3, 2], keepdims = false} : f32[N, 2]
  %3 = softmax(%2) : f32[N, 2]
  %4 = slice(%0) {axis = -2, end = 3, start = 1} : f32[N, 2, 2, 6]
  %5 = concat(%4, %0) {axis = -2} : f32[N, 2, 7, 6]
  return "a" = %1, "b" = %3, "c" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 6]"} : f32[N, 2, 5, 6]
  %1 = reduce_mean(%0) {axes = [1, 3]} : f32[N, 1, 5, 1]
  %2 = reduce_max(%0) {axes = [2, 3], keepdims = false} : f32[N, 2]
  %3 = softmax(%2) {axis = 1} : f32[N, 2]
  %4 = slice(%0) {axis = 2, end = 3, start = 1} : f32[N, 2, 2, 6]
  %5 = concat(%4, %0) {axis = 2} : f32[N, 2, 7, 6]
  return "a" = %1, "b" = %3, "c" = %5
)");
}

// A new axis counts among the result's, those of a maximum's gradient among the maximum's
// operand's.
TEST(Canonicalize, AxesThatAreNotTheFirstOperands) {
  expect_rewrite("canonicalize", R"(
  %0 = input() {name = "i", type = "i64[3, 4]"} : i64[3, 4]
  %1 = one_hot(%0) {depth = 6} : f32[3, 4, 6]
  %2 = input() {name = "d", type = "f32[2, 5]"} : f32[2, 5]
  %3 = input() {name = "x", type = "f32[2, 5, 3]"} : f32[2, 5, 3]
  %4 = reduce_max_bwd(%2, %3) {axes = [-1], keepdims = false} : f32[2, 5, 3]
  return "y" = %1, "dx" = %4
)",
                 R"(
  %0 = input() {name = "i", type = "i64[3, 4]"} : i64[3, 4]
  %1 = one_hot(%0) {axis = 2, depth = 6} : f32[3, 4, 6]
  %2 = input() {name = "d", type = "f32[2, 5]"} : f32[2, 5]
  %3 = input() {name = "x", type = "f32[2, 5, 3]"} : f32[2, 5, 3]
  %4 = reduce_max_bwd(%2, %3) {axes = [2], keepdims = false} : f32[2, 5, 3]
  return "y" = %1, "dx" = %4
)");
}

// Refusals.
TEST(Canonicalize, RefusesIdentitiesThatChangeTheType) {
  expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[4]"} : f32[4]
  %1 = input() {name = "h", type = "f32[N, 4]"} : f32[N, 4]
  %2 = constant() {value = tensor<f32[3, 1]; [1.0, 1.0, 1.0]>} : f32[3, 1]
  %3 = constant() {value = tensor<f32[1, 1]; [1.0]>} : f32[1, 1]
  %4 = constant() {value = tensor<bf16[]; [0.0]>} : bf16[]
  %5 = mul(%0, %2) : f32[3, 4]
  %6 = mul(%0, %3) : f32[1, 4]
  %7 = add(%1, %4) : bf16[N, 4]
  %8 = cast(%7) {dtype = "f32"} : f32[N, 4]
  return "a" = %5, "b" = %6, "c" = %8
)");
}

TEST(Canonicalize, RefusesWhatOnlyLooksLikeAnIdentity) {
  expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[3, 3]"} : f32[3, 3]
  %1 = constant() {value = tensor<f32[]; [0.0]>} : f32[]
  %2 = constant() {value = tensor<f32[]; [1.0]>} : f32[]
  %3 = transpose(%0) {permutation = [1, 0]} : f32[3, 3]
  %4 = sub(%1, %3) : f32[3, 3]
  %5 = div(%2, %4) : f32[3, 3]
  %6 = mul(%5, %1) : f32[3, 3]
  %7 = add(%6, %2) : f32[3, 3]
  %8 = pow(%7, %2) : f32[3, 3]
  return "y" = %8
)");
}

TEST(Canonicalize, RefusesOtherPoolsAndOrders) {
  expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 6]"} : f32[N, 2, 5, 6]
  %1 = parameter() {key = "p", type = "f32[6]"} : f32[6]
  %2 = avg_pool(%0) {kernel = [5, 5], strides = [1, 1]} : f32[N, 2, 1, 2]
  %3 = avg_pool(%0) {kernel = [5, 6], pads = [1, 0, 1, 0], strides = [9, 9]} : f32[N, 2, 1, 1]
  %4 = max_pool(%0) {kernel = [5, 6]} : f32[N, 2, 1, 1]
  %5 = sub(%1, %0) : f32[N, 2, 5, 6]
  %6 = div(%1, %5) : f32[N, 2, 5, 6]
  %7 = add(%1, %1) : f32[6]
  %8 = add(%6, %7) : f32[N, 2, 5, 6]
  return "a" = %2, "b" = %3, "c" = %4, "d" = %8
)");
}

}  // namespace
}  // namespace facet
