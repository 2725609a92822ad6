#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;
using testing::to_lines;

TEST(LowerBatchNorm, BecomesOneScaleAndOneShift) {
  const auto remarks = expect_rewrite("lower-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %2 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %5 = batch_norm(%0, %1, %2, %3, %4) {epsilon = 0.01} : f32[N, 2, 4, 4] @ "bn"
  return "y" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %2 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %5 = elementwise(%1, %4) {program = ["add 1 #0.01", "rsqrt 2", "mul 0 3"]} : f32[2] @ "bn"
  %6 = mul(%3, %5) : f32[2] @ "bn"
  %7 = sub(%2, %6) : f32[2] @ "bn"
  %8 = reshape(%5) {shape = [-1, 1, 1]} : f32[2, 1, 1] @ "bn"
  %9 = mul(%0, %8) : f32[N, 2, 4, 4] @ "bn"
  %10 = reshape(%7) {shape = [-1, 1, 1]} : f32[2, 1, 1] @ "bn"
  %11 = add(%9, %10) : f32[N, 2, 4, 4] @ "bn"
  return "y" = %11
)");
  EXPECT_EQ(to_lines(remarks), "applied lower-batch-norm @ bn: scale and shift\n");
}

TEST(LowerBatchNorm, OverTwoAxes) {
  expect_rewrite("lower-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 3]"} : f32[N, 3]
  %1 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %2 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %3 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %5 = batch_norm(%0, %1, %2, %3, %4) : f32[N, 3]
  return "y" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 3]"} : f32[N, 3]
  %1 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %2 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %3 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %5 = elementwise(%1, %4) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[3]
  %6 = mul(%3, %5) : f32[3]
  %7 = sub(%2, %6) : f32[3]
  %8 = mul(%0, %5) : f32[N, 3]
  %9 = add(%8, %7) : f32[N, 3]
  return "y" = %9
)");
}

TEST(LowerBatchNorm, RefusesStatisticsOfTheRun) {
  EXPECT_EQ(to_lines(expect_refusal("lower-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 3]"} : f32[N, 3]
  %1 = input() {name = "s", type = "f32[3]"} : f32[3]
  %2 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %3 = batch_norm(%0, %1, %2, %2, %2) : f32[N, 3] @ "bn"
  return "y" = %3
)")),
            "missed lower-batch-norm @ bn: scale and shift: weights or statistics are computed while "
            "the network runs\n");
}

}  // namespace
}  // namespace facet
