#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;
using testing::to_lines;

TEST(FoldBatchNorm, BehindAConv) {
  const auto remarks = expect_rewrite("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 2, 3, 3]"} : f32[3, 2, 3, 3]
  %2 = conv(%0, %1) {pads = [1, 1, 1, 1]} : f32[N, 3, 5, 5] @ "conv"
  %3 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %5 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %6 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %7 = batch_norm(%2, %3, %4, %5, %6) {epsilon = 0.001} : f32[N, 3, 5, 5] @ "bn"
  return "y" = %7
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 2, 3, 3]"} : f32[3, 2, 3, 3]
  %2 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %3 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %5 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %6 = elementwise(%2, %5) {program = ["add 1 #0.001", "rsqrt 2", "mul 0 3"]} : f32[3] @ "conv"
  %7 = mul(%4, %6) : f32[3] @ "conv"
  %8 = sub(%3, %7) : f32[3] @ "conv"
  %9 = reshape(%6) {shape = [-1, 1, 1, 1]} : f32[3, 1, 1, 1] @ "conv"
  %10 = mul(%1, %9) : f32[3, 2, 3, 3] @ "conv"
  %11 = conv(%0, %10, %8) {epilogue = ["bias"], pads = [1, 1, 1, 1]} : f32[N, 3, 5, 5] @ "conv"
  return "y" = %11
)");
  EXPECT_EQ(to_lines(remarks), "applied fold-batch-norm @ conv: conv+batch_norm\n");
}

TEST(FoldBatchNorm, BehindAConvWithBias) {
  expect_rewrite("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 4, 5, 5]"} : f32[N, 4, 5, 5]
  %1 = parameter() {key = "weight", type = "f32[6, 2, 3, 3]"} : f32[6, 2, 3, 3]
  %2 = parameter() {key = "bias", type = "f32[6]"} : f32[6]
  %3 = conv(%0, %1, %2) {epilogue = ["bias"], groups = 2, strides = [2, 1]} : f32[N, 6, 2, 3]
  %4 = parameter() {key = "gamma", type = "f32[6]"} : f32[6]
  %5 = parameter() {key = "beta", type = "f32[6]"} : f32[6]
  %6 = parameter() {key = "mean", type = "f32[6]"} : f32[6]
  %7 = parameter() {key = "var", type = "f32[6]"} : f32[6]
  %8 = batch_norm(%3, %4, %5, %6, %7) : f32[N, 6, 2, 3]
  return "y" = %8
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4, 5, 5]"} : f32[N, 4, 5, 5]
  %1 = parameter() {key = "weight", type = "f32[6, 2, 3, 3]"} : f32[6, 2, 3, 3]
  %2 = parameter() {key = "bias", type = "f32[6]"} : f32[6]
  %3 = parameter() {key = "gamma", type = "f32[6]"} : f32[6]
  %4 = parameter() {key = "beta", type = "f32[6]"} : f32[6]
  %5 = parameter() {key = "mean", type = "f32[6]"} : f32[6]
  %6 = parameter() {key = "var", type = "f32[6]"} : f32[6]
  %7 = elementwise(%3, %6) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[6]
  %8 = mul(%5, %7) : f32[6]
  %9 = sub(%4, %8) : f32[6]
  %10 = reshape(%7) {shape = [-1, 1, 1, 1]} : f32[6, 1, 1, 1]
  %11 = mul(%1, %10) : f32[6, 2, 3, 3]
  %12 = mul(%2, %7) : f32[6]
  %13 = add(%12, %9) : f32[6]
  %14 = conv(%0, %11, %13) {epilogue = ["bias"], groups = 2, strides = [2, 1]} : f32[N, 6, 2, 3]
  return "y" = %14
)");
}

TEST(FoldBatchNorm, BehindALinear) {
  const auto remarks = expect_rewrite("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 5]"} : f32[N, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = linear(%0, %1) : f32[N, 3] @ "fc"
  %3 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %5 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %6 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %7 = batch_norm(%2, %3, %4, %5, %6) : f32[N, 3] @ "features"
  return "y" = %7
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 5]"} : f32[N, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %3 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %5 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %6 = elementwise(%2, %5) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[3] @ "fc"
  %7 = mul(%4, %6) : f32[3] @ "fc"
  %8 = sub(%3, %7) : f32[3] @ "fc"
  %9 = reshape(%6) {shape = [-1, 1]} : f32[3, 1] @ "fc"
  %10 = mul(%1, %9) : f32[3, 5] @ "fc"
  %11 = linear(%0, %10, %8) {epilogue = ["bias"]} : f32[N, 3] @ "fc"
  return "y" = %11
)");
  EXPECT_EQ(to_lines(remarks), "applied fold-batch-norm @ fc: linear+batch_norm\n");
}

TEST(FoldBatchNorm, BehindALinearWithBias) {
  expect_rewrite("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 5]"} : f32[N, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "bias", type = "f32[3]"} : f32[3]
  %3 = linear(%0, %1, %2) {epilogue = ["bias"]} : f32[N, 3]
  %4 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %5 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %6 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %7 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %8 = batch_norm(%3, %4, %5, %6, %7) : f32[N, 3]
  return "y" = %8
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 5]"} : f32[N, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "bias", type = "f32[3]"} : f32[3]
  %3 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %5 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %6 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %7 = elementwise(%3, %6) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[3]
  %8 = mul(%5, %7) : f32[3]
  %9 = sub(%4, %8) : f32[3]
  %10 = reshape(%7) {shape = [-1, 1]} : f32[3, 1]
  %11 = mul(%1, %10) : f32[3, 5]
  %12 = mul(%2, %7) : f32[3]
  %13 = add(%12, %9) : f32[3]
  %14 = linear(%0, %11, %13) {epilogue = ["bias"]} : f32[N, 3]
  return "y" = %14
)");
}

TEST(FoldBatchNorm, SharedWeightsStayForTheirOtherReader) {
  expect_rewrite("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = conv(%0, %1) : f32[N, 2, 4, 4]
  %3 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %5 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %6 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %7 = batch_norm(%2, %3, %4, %5, %6) : f32[N, 2, 4, 4]
  %8 = conv(%7, %1) {pads = [1, 1, 1, 1]} : f32[N, 2, 6, 6]
  return "y" = %8
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %5 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %6 = elementwise(%2, %5) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[2]
  %7 = mul(%4, %6) : f32[2]
  %8 = sub(%3, %7) : f32[2]
  %9 = reshape(%6) {shape = [-1, 1, 1, 1]} : f32[2, 1, 1, 1]
  %10 = mul(%1, %9) : f32[2, 2, 1, 1]
  %11 = conv(%0, %10, %8) {epilogue = ["bias"]} : f32[N, 2, 4, 4]
  %12 = conv(%11, %1) {pads = [1, 1, 1, 1]} : f32[N, 2, 6, 6]
  return "y" = %12
)");
}

TEST(FoldBatchNorm, TwoInARowFoldBoth) {
  const auto remarks = expect_rewrite("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 5]"} : f32[N, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = linear(%0, %1) : f32[N, 3] @ "fc"
  %3 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %5 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %6 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %7 = batch_norm(%2, %3, %4, %5, %6) : f32[N, 3] @ "bn1"
  %8 = batch_norm(%7, %6, %3, %4, %6) : f32[N, 3] @ "bn2"
  return "y" = %8
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 5]"} : f32[N, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "gamma", type = "f32[3]"} : f32[3]
  %3 = parameter() {key = "beta", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "mean", type = "f32[3]"} : f32[3]
  %5 = parameter() {key = "var", type = "f32[3]"} : f32[3]
  %6 = elementwise(%2, %5) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[3] @ "fc"
  %7 = mul(%4, %6) : f32[3] @ "fc"
  %8 = sub(%3, %7) : f32[3] @ "fc"
  %9 = reshape(%6) {shape = [-1, 1]} : f32[3, 1] @ "fc"
  %10 = mul(%1, %9) : f32[3, 5] @ "fc"
  %11 = elementwise(%5, %5) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[3] @ "fc"
  %12 = mul(%3, %11) : f32[3] @ "fc"
  %13 = sub(%2, %12) : f32[3] @ "fc"
  %14 = reshape(%11) {shape = [-1, 1]} : f32[3, 1] @ "fc"
  %15 = mul(%10, %14) : f32[3, 5] @ "fc"
  %16 = mul(%8, %11) : f32[3] @ "fc"
  %17 = add(%16, %13) : f32[3] @ "fc"
  %18 = linear(%0, %15, %17) {epilogue = ["bias"]} : f32[N, 3] @ "fc"
  return "y" = %18
)");
  EXPECT_EQ(to_lines(remarks),
            "applied fold-batch-norm @ fc: linear+batch_norm\n"
            "applied fold-batch-norm @ fc: linear+batch_norm\n");
}

TEST(FoldBatchNorm, BeforeAnUnpaddedConv) {
  const auto remarks = expect_rewrite("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %2 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %5 = batch_norm(%0, %1, %2, %3, %4) : f32[N, 2, 5, 5] @ "bn"
  %6 = parameter() {key = "weight", type = "f32[3, 2, 3, 3]"} : f32[3, 2, 3, 3]
  %7 = conv(%5, %6) {strides = [2, 2]} : f32[N, 3, 2, 2] @ "conv"
  return "y" = %7
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %2 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %5 = parameter() {key = "weight", type = "f32[3, 2, 3, 3]"} : f32[3, 2, 3, 3]
  %6 = elementwise(%1, %4) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[2] @ "conv"
  %7 = mul(%3, %6) : f32[2] @ "conv"
  %8 = sub(%2, %7) : f32[2] @ "conv"
  %9 = reshape(%6) {shape = [1, -1, 1, 1]} : f32[1, 2, 1, 1] @ "conv"
  %10 = mul(%5, %9) : f32[3, 2, 3, 3] @ "conv"
  %11 = reshape(%8) {shape = [1, -1, 1, 1]} : f32[1, 2, 1, 1] @ "conv"
  %12 = mul(%5, %11) : f32[3, 2, 3, 3] @ "conv"
  %13 = reduce_sum(%12) {axes = [1, 2, 3], keepdims = false} : f32[3] @ "conv"
  %14 = conv(%0, %10, %13) {epilogue = ["bias"], strides = [2, 2]} : f32[N, 3, 2, 2] @ "conv"
  return "y" = %14
)");
  EXPECT_EQ(to_lines(remarks), "applied fold-batch-norm @ conv: batch_norm+conv\n");
}

TEST(FoldBatchNorm, BeforeAConvWithBiasAndMore) {
  expect_rewrite("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = input() {name = "r", type = "f32[N, 3, 5, 5]"} : f32[N, 3, 5, 5]
  %2 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %5 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %6 = batch_norm(%0, %2, %3, %4, %5) : f32[N, 2, 5, 5]
  %7 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %8 = parameter() {key = "bias", type = "f32[3]"} : f32[3]
  %9 = conv(%6, %7, %8, %1) {epilogue = ["bias", "relu", "add"]} : f32[N, 3, 5, 5]
  return "y" = %9
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = input() {name = "r", type = "f32[N, 3, 5, 5]"} : f32[N, 3, 5, 5]
  %2 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %5 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %6 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %7 = parameter() {key = "bias", type = "f32[3]"} : f32[3]
  %8 = elementwise(%2, %5) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[2]
  %9 = mul(%4, %8) : f32[2]
  %10 = sub(%3, %9) : f32[2]
  %11 = reshape(%8) {shape = [1, -1, 1, 1]} : f32[1, 2, 1, 1]
  %12 = mul(%6, %11) : f32[3, 2, 1, 1]
  %13 = reshape(%10) {shape = [1, -1, 1, 1]} : f32[1, 2, 1, 1]
  %14 = mul(%6, %13) : f32[3, 2, 1, 1]
  %15 = reduce_sum(%14) {axes = [1, 2, 3], keepdims = false} : f32[3]
  %16 = add(%7, %15) : f32[3]
  %17 = conv(%0, %12, %16, %1) {epilogue = ["bias", "relu", "add"]} : f32[N, 3, 5, 5]
  return "y" = %17
)");
}

TEST(FoldBatchNorm, BeforeAConvWhoseEpilogueHasNoBias) {
  expect_rewrite("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = input() {name = "r", type = "f32[N, 3, 5, 5]"} : f32[N, 3, 5, 5]
  %2 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %5 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %6 = batch_norm(%0, %2, %3, %4, %5) : f32[N, 2, 5, 5]
  %7 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %8 = conv(%6, %7, %1) {epilogue = ["relu", "add"]} : f32[N, 3, 5, 5]
  return "y" = %8
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = input() {name = "r", type = "f32[N, 3, 5, 5]"} : f32[N, 3, 5, 5]
  %2 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %5 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %6 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %7 = elementwise(%2, %5) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[2]
  %8 = mul(%4, %7) : f32[2]
  %9 = sub(%3, %8) : f32[2]
  %10 = reshape(%7) {shape = [1, -1, 1, 1]} : f32[1, 2, 1, 1]
  %11 = mul(%6, %10) : f32[3, 2, 1, 1]
  %12 = reshape(%9) {shape = [1, -1, 1, 1]} : f32[1, 2, 1, 1]
  %13 = mul(%6, %12) : f32[3, 2, 1, 1]
  %14 = reduce_sum(%13) {axes = [1, 2, 3], keepdims = false} : f32[3]
  %15 = conv(%0, %11, %14, %1) {epilogue = ["bias", "relu", "add"]} : f32[N, 3, 5, 5]
  return "y" = %15
)");
}

// Refusals. What stands between conv and batch norm comes from these pieces.
constexpr std::string_view kStatistics = R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %5 = parameter() {key = "var", type = "f32[2]"} : f32[2]
)";

std::string refusal(std::string_view rest) {
  return to_lines(
      expect_refusal("fold-batch-norm", std::string(kStatistics) + std::string(rest.substr(1))));
}

TEST(FoldBatchNorm, RefusesAConvWithTwoReaders) {
  EXPECT_EQ(refusal(R"(
  %6 = conv(%0, %1) : f32[N, 2, 4, 4] @ "conv"
  %7 = batch_norm(%6, %2, %3, %4, %5) : f32[N, 2, 4, 4] @ "bn"
  %8 = add(%6, %7) : f32[N, 2, 4, 4]
  return "y" = %8
)"),
            "missed fold-batch-norm @ bn: conv+batch_norm: conv has 2 readers\n");
}

TEST(FoldBatchNorm, RefusesAConvThatIsAnOutput) {
  EXPECT_EQ(refusal(R"(
  %6 = conv(%0, %1) : f32[N, 2, 4, 4] @ "conv"
  %7 = batch_norm(%6, %2, %3, %4, %5) : f32[N, 2, 4, 4] @ "bn"
  return "y" = %7, "raw" = %6
)"),
            "missed fold-batch-norm @ bn: conv+batch_norm: conv has 2 readers\n");
}

TEST(FoldBatchNorm, RefusesWhatDoesNotCommute) {
  const std::string why = "what stands between them does not commute with a scale\n";
  EXPECT_EQ(refusal(R"(
  %6 = conv(%0, %1) {epilogue = ["relu"]} : f32[N, 2, 4, 4] @ "conv"
  %7 = batch_norm(%6, %2, %3, %4, %5) : f32[N, 2, 4, 4] @ "bn"
  return "y" = %7
)"),
            "missed fold-batch-norm @ bn: conv+batch_norm: " + why);
  // Over three axes the linear's outputs lie along the last axis, the batch norm's along axis 1.
  EXPECT_EQ(to_lines(expect_refusal("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4]"} : f32[N, 2, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 4]"} : f32[2, 4]
  %2 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "mean", type = "f32[2]"} : f32[2]
  %5 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %6 = linear(%0, %1) : f32[N, 2, 2] @ "fc"
  %7 = batch_norm(%6, %2, %3, %4, %5) : f32[N, 2, 2] @ "bn"
  return "y" = %7
)")),
            "missed fold-batch-norm @ bn: linear+batch_norm: " + why);
}

TEST(FoldBatchNorm, RefusesStatisticsOfTheRun) {
  const std::string_view body = R"(
  %6 = input() {name = "s", type = "f32[2]"} : f32[2]
  %7 = conv(%0, %1) : f32[N, 2, 4, 4] @ "conv"
  %8 = batch_norm(%7, %6, %3, %4, %5) : f32[N, 2, 4, 4] @ "bn"
  %9 = conv(%8, %1) : f32[N, 2, 4, 4] @ "next"
  return "y" = %9
)";
  const std::string why = "weights or statistics are computed while the network runs\n";
  EXPECT_EQ(refusal(body), "missed fold-batch-norm @ bn: conv+batch_norm: " + why +
                               "missed fold-batch-norm @ bn: batch_norm+conv: " + why);
}

TEST(FoldBatchNorm, RefusesWeightsOfTheRun) {
  EXPECT_EQ(to_lines(expect_refusal("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = input() {name = "w", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %3 = conv(%0, %1) : f32[N, 2, 4, 4] @ "conv"
  %4 = batch_norm(%3, %2, %2, %2, %2) : f32[N, 2, 4, 4] @ "bn"
  return "y" = %4
)")),
            "missed fold-batch-norm @ bn: conv+batch_norm: weights or statistics are computed while "
            "the network runs\n");
}

TEST(FoldBatchNorm, RefusesBeforeAPaddedConv) {
  EXPECT_EQ(refusal(R"(
  %6 = batch_norm(%0, %2, %3, %4, %5) : f32[N, 2, 4, 4] @ "bn"
  %7 = conv(%6, %1) {pads = [0, 0, 0, 1]} : f32[N, 2, 4, 5] @ "conv"
  return "y" = %7
)"),
            "missed fold-batch-norm @ bn: batch_norm+conv: the conv pads with zeros behind the "
            "batch norm: not exact\n");
}

TEST(FoldBatchNorm, RefusesBeforeAConvWithGroupsOrOtherReaders) {
  const std::string expected =
      "missed fold-batch-norm @ bn: batch_norm+conv: the batch norm has other readers, or the conv "
      "has groups\n";
  EXPECT_EQ(refusal(R"(
  %6 = batch_norm(%0, %2, %3, %4, %5) : f32[N, 2, 4, 4] @ "bn"
  %7 = conv(%6, %1) : f32[N, 2, 4, 4] @ "conv"
  %8 = add(%6, %7) : f32[N, 2, 4, 4]
  return "y" = %8
)"),
            expected);
  EXPECT_EQ(to_lines(expect_refusal("fold-batch-norm", R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 1, 1, 1]"} : f32[2, 1, 1, 1]
  %2 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "var", type = "f32[2]"} : f32[2]
  %4 = batch_norm(%0, %2, %2, %2, %3) : f32[N, 2, 4, 4] @ "bn"
  %5 = conv(%4, %1) {groups = 2} : f32[N, 2, 4, 4] @ "conv"
  return "y" = %5
)")),
            expected);
}

TEST(FoldBatchNorm, LeavesABatchNormWithoutANeighbour) {
  EXPECT_EQ(refusal(R"(
  %6 = relu(%0) : f32[N, 2, 4, 4]
  %7 = batch_norm(%6, %2, %3, %4, %5) : f32[N, 2, 4, 4] @ "bn"
  return "y" = %7
)"),
            "");
}

}  // namespace
}  // namespace facet
