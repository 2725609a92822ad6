#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;

constexpr std::string_view kPass = "lower-to-bf16";

// Input and weight are cast, the bias and the slope are not, the output is f32 again.
TEST(LowerToBf16, ConvReadsBf16AndTheOutputIsF32) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %2 = parameter() {key = "bias", type = "f32[3]"} : f32[3]
  %3 = parameter() {key = "slope", type = "f32[3]"} : f32[3]
  %4 = conv(%0, %1, %2, %3) {epilogue = ["bias", "prelu"]} : f32[N, 3, 4, 4] @ "conv"
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = cast(%0) {dtype = "bf16"} : bf16[N, 2, 4, 4]
  %2 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %3 = parameter() {key = "bias", type = "f32[3]"} : f32[3]
  %4 = parameter() {key = "slope", type = "f32[3]"} : f32[3]
  %5 = cast(%2) {dtype = "bf16"} : bf16[3, 2, 1, 1]
  %6 = conv(%1, %5, %3, %4) {epilogue = ["bias", "prelu"]} : bf16[N, 3, 4, 4] @ "conv"
  %7 = cast(%6) {dtype = "f32"} : f32[N, 3, 4, 4] @ "conv"
  return "y" = %7
)");
}

TEST(LowerToF16, IsTheSameInF16) {
  expect_rewrite("lower-to-f16", R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %2 = conv(%0, %1) : f32[N, 3, 4, 4] @ "conv"
  %3 = relu(%2) : f32[N, 3, 4, 4] @ "relu"
  return "y" = %3
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = cast(%0) {dtype = "f16"} : f16[N, 2, 4, 4]
  %2 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %3 = cast(%2) {dtype = "f16"} : f16[3, 2, 1, 1]
  %4 = conv(%1, %3) : f16[N, 3, 4, 4] @ "conv"
  %5 = relu(%4) : f16[N, 3, 4, 4] @ "relu"
  %6 = cast(%5) {dtype = "f32"} : f32[N, 3, 4, 4] @ "relu"
  return "y" = %6
)");
}

// Scales and shifts of sums that are in f32, and what is added to them, keep their precision.
TEST(LowerToBf16, AttentionMultipliesBf16AndScalesInF32) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 12, 3]"} : f32[N, 12, 3]
  %1 = parameter() {key = "scale", type = "f32[3, 1]"} : f32[3, 1]
  %2 = parameter() {key = "query_table", type = "f32[5, 4]"} : f32[5, 4]
  %3 = parameter() {key = "key_table", type = "f32[5, 4]"} : f32[5, 4]
  %4 = parameter() {key = "mask", type = "f32[3, 3]"} : f32[3, 3]
  %5 = parameter() {key = "value_table", type = "f32[5, 4]"} : f32[5, 4]
  %6 = parameter() {key = "output_scale", type = "f32[2, 4]"} : f32[2, 4]
  %7 = parameter() {key = "bias", type = "f32[4]"} : f32[4]
  %8 = sdpa(%0, %0, %0, %1, %2, %3, %4, %5, %6, %7) {extras = ["score_scale", "relative_query", "relative_key", "bias", "relative_value", "output_scale", "output_shift"], heads = 1, key = [4, 4, 4], query = [0, 4, 4], value = [8, 4, 4]} : f32[N, 4, 3] @ "attn"
  return "y" = %8
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 12, 3]"} : f32[N, 12, 3]
  %1 = cast(%0) {dtype = "bf16"} : bf16[N, 12, 3]
  %2 = parameter() {key = "scale", type = "f32[3, 1]"} : f32[3, 1]
  %3 = parameter() {key = "query_table", type = "f32[5, 4]"} : f32[5, 4]
  %4 = parameter() {key = "key_table", type = "f32[5, 4]"} : f32[5, 4]
  %5 = parameter() {key = "mask", type = "f32[3, 3]"} : f32[3, 3]
  %6 = parameter() {key = "value_table", type = "f32[5, 4]"} : f32[5, 4]
  %7 = parameter() {key = "output_scale", type = "f32[2, 4]"} : f32[2, 4]
  %8 = parameter() {key = "bias", type = "f32[4]"} : f32[4]
  %9 = cast(%3) {dtype = "bf16"} : bf16[5, 4]
  %10 = cast(%4) {dtype = "bf16"} : bf16[5, 4]
  %11 = cast(%6) {dtype = "bf16"} : bf16[5, 4]
  %12 = sdpa(%1, %1, %1, %2, %9, %10, %5, %11, %7, %8) {extras = ["score_scale", "relative_query", "relative_key", "bias", "relative_value", "output_scale", "output_shift"], heads = 1, key = [4, 4, 4], query = [0, 4, 4], value = [8, 4, 4]} : bf16[N, 4, 3] @ "attn"
  %13 = cast(%12) {dtype = "f32"} : f32[N, 4, 3] @ "attn"
  return "y" = %13
)");
}

TEST(LowerToBf16, ActivationsAndResidualsAreBf16) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = parameter() {key = "weight", type = "f32[4, 4]"} : f32[4, 4]
  %2 = parameter() {key = "shift", type = "f32[4]"} : f32[4]
  %3 = relu(%0) : f32[N, 4]
  %4 = linear(%3, %1, %0) {epilogue = ["add"]} : f32[N, 4]
  %5 = add(%4, %2) : f32[N, 4]
  %6 = matmul(%5, %1) {transpose_b = true} : f32[N, 4]
  %7 = softmax(%6) {axis = 1} : f32[N, 4]
  return "y" = %7, "between" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = cast(%0) {dtype = "bf16"} : bf16[N, 4]
  %2 = parameter() {key = "weight", type = "f32[4, 4]"} : f32[4, 4]
  %3 = parameter() {key = "shift", type = "f32[4]"} : f32[4]
  %4 = relu(%1) : bf16[N, 4]
  %5 = cast(%2) {dtype = "bf16"} : bf16[4, 4]
  %6 = linear(%4, %5, %1) {epilogue = ["add"]} : bf16[N, 4]
  %7 = add(%6, %3) : bf16[N, 4]
  %8 = matmul(%7, %5) {transpose_b = true} : bf16[N, 4]
  %9 = softmax(%8) {axis = 1} : bf16[N, 4]
  %10 = cast(%9) {dtype = "f32"} : f32[N, 4]
  %11 = cast(%7) {dtype = "f32"} : f32[N, 4]
  return "y" = %10, "between" = %11
)");
}

// Weights that two layers share are cast once; what is computed from parameters stays f32 up to the
// cast.
TEST(LowerToBf16, PreparedWeightsAreCastOnceAtTheEnd) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = parameter() {key = "weight", type = "f32[4, 4]"} : f32[4, 4]
  %2 = parameter() {key = "scale", type = "f32[4, 1]"} : f32[4, 1]
  %3 = mul(%1, %2) : f32[4, 4]
  %4 = linear(%0, %3) : f32[N, 4]
  %5 = linear(%4, %3) : f32[N, 4]
  return "y" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = cast(%0) {dtype = "bf16"} : bf16[N, 4]
  %2 = parameter() {key = "weight", type = "f32[4, 4]"} : f32[4, 4]
  %3 = parameter() {key = "scale", type = "f32[4, 1]"} : f32[4, 1]
  %4 = mul(%2, %3) : f32[4, 4]
  %5 = cast(%4) {dtype = "bf16"} : bf16[4, 4]
  %6 = linear(%1, %5) : bf16[N, 4]
  %7 = linear(%6, %5) : bf16[N, 4]
  %8 = cast(%7) {dtype = "f32"} : f32[N, 4]
  return "y" = %8
)");
}

// Activations that do not come from an f32 input are cast where a product reads them.
TEST(LowerToBf16, PixelsAndExplicitCasts) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "pixels", type = "u8[N, 4]"} : u8[N, 4]
  %1 = parameter() {key = "weight", type = "f32[4, 4]"} : f32[4, 4]
  %2 = cast(%0) {dtype = "f32"} : f32[N, 4]
  %3 = linear(%2, %1) : f32[N, 4]
  %4 = cast(%3) {dtype = "f32"} : f32[N, 4]
  %5 = linear(%4, %1) : f32[N, 4]
  %6 = linear(%5, %1) : f32[N, 4]
  return "y" = %6
)",
                 R"(
  %0 = input() {name = "pixels", type = "u8[N, 4]"} : u8[N, 4]
  %1 = parameter() {key = "weight", type = "f32[4, 4]"} : f32[4, 4]
  %2 = cast(%0) {dtype = "f32"} : f32[N, 4]
  %3 = cast(%2) {dtype = "bf16"} : bf16[N, 4]
  %4 = cast(%1) {dtype = "bf16"} : bf16[4, 4]
  %5 = linear(%3, %4) : bf16[N, 4]
  %6 = cast(%5) {dtype = "f32"} : f32[N, 4]
  %7 = cast(%6) {dtype = "bf16"} : bf16[N, 4]
  %8 = linear(%7, %4) : bf16[N, 4]
  %9 = linear(%8, %4) : bf16[N, 4]
  %10 = cast(%9) {dtype = "f32"} : f32[N, 4]
  return "y" = %10
)");
}

// A concat needs one dtype.
TEST(LowerToBf16, ConcatWithAParameter) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[2, 4]"} : f32[2, 4]
  %1 = parameter() {key = "token", type = "f32[1, 4]"} : f32[1, 4]
  %2 = concat(%1, %0) {axis = 0} : f32[3, 4]
  %3 = concat(%1, %1) {axis = 0} : f32[2, 4]
  return "y" = %2, "tokens" = %3
)",
                 R"(
  %0 = input() {name = "x", type = "f32[2, 4]"} : f32[2, 4]
  %1 = cast(%0) {dtype = "bf16"} : bf16[2, 4]
  %2 = parameter() {key = "token", type = "f32[1, 4]"} : f32[1, 4]
  %3 = cast(%2) {dtype = "bf16"} : bf16[1, 4]
  %4 = concat(%3, %1) {axis = 0} : bf16[3, 4]
  %5 = concat(%2, %2) {axis = 0} : f32[2, 4]
  %6 = cast(%4) {dtype = "f32"} : f32[3, 4]
  return "y" = %6, "tokens" = %5
)");
}

// Casts and outputs read the input itself, at full precision.
TEST(LowerToBf16, CastsAndOutputsReadTheInputItself) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = cast(%0) {dtype = "i32"} : i32[N, 4]
  %2 = exp(%0) : f32[N, 4]
  return "whole" = %1, "y" = %2, "x" = %0
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = cast(%0) {dtype = "bf16"} : bf16[N, 4]
  %2 = cast(%0) {dtype = "i32"} : i32[N, 4]
  %3 = exp(%1) : bf16[N, 4]
  %4 = cast(%3) {dtype = "f32"} : f32[N, 4]
  return "whole" = %2, "y" = %4, "x" = %0
)");
}

// What was bf16 by the network's own wish stays so.
TEST(LowerToBf16, ABf16OutputStaysBf16) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = exp(%0) : f32[N, 4]
  %2 = cast(%1) {dtype = "bf16"} : bf16[N, 4]
  return "y" = %2
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = cast(%0) {dtype = "bf16"} : bf16[N, 4]
  %2 = exp(%1) : bf16[N, 4]
  %3 = cast(%2) {dtype = "bf16"} : bf16[N, 4]
  return "y" = %3
)");
}

// The gradient is a bf16 product; the update reads it, the parameter and the learning rate in f32.
TEST(LowerToBf16, UpdatesAreF32) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[4, 3]"} : f32[4, 3]
  %1 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %2 = parameter() {key = "w", mutable = true, type = "f32[3, 3]"} : f32[3, 3]
  %3 = parameter() {key = "w.v", mutable = true, type = "f32[3, 3]"} : f32[3, 3]
  %4 = parameter() {key = "w.sum", mutable = true, type = "f32[3, 3]"} : f32[3, 3]
  %5 = matmul(%0, %0) {transpose_a = true} : f32[3, 3]
  %6 = add(%4, %5) : f32[3, 3]
  %7:2 = sgd_update(%2, %3, %5, %1) : (f32[3, 3], f32[3, 3])
  update "w" = %7.0
  update "w.v" = %7.1
  update "w.sum" = %6
  return "y" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[4, 3]"} : f32[4, 3]
  %1 = cast(%0) {dtype = "bf16"} : bf16[4, 3]
  %2 = input() {name = "lr", type = "f32[1]"} : f32[1]
  %3 = parameter() {key = "w", mutable = true, type = "f32[3, 3]"} : f32[3, 3]
  %4 = parameter() {key = "w.v", mutable = true, type = "f32[3, 3]"} : f32[3, 3]
  %5 = parameter() {key = "w.sum", mutable = true, type = "f32[3, 3]"} : f32[3, 3]
  %6 = matmul(%1, %1) {transpose_a = true} : bf16[3, 3]
  %7 = add(%5, %6) : bf16[3, 3]
  %8 = cast(%6) {dtype = "f32"} : f32[3, 3]
  %9:2 = sgd_update(%3, %4, %8, %2) : (f32[3, 3], f32[3, 3])
  %10 = cast(%7) {dtype = "f32"} : f32[3, 3]
  update "w" = %9.0
  update "w.v" = %9.1
  update "w.sum" = %10
  return "y" = %8
)");
}

// A product that asks for full precision reads f32, made from bf16 where the activations are.
TEST(LowerToBf16, FullPrecisionProductsStayF32) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[4, 3]"} : f32[4, 3]
  %1 = parameter() {key = "w", type = "f32[5, 3]"} : f32[5, 3]
  %2 = relu(%0) : f32[4, 3]
  %3 = matmul(%2, %1) {full_precision = true, transpose_b = true} : f32[4, 5]
  return "y" = %3
)",
                 R"(
  %0 = input() {name = "x", type = "f32[4, 3]"} : f32[4, 3]
  %1 = cast(%0) {dtype = "bf16"} : bf16[4, 3]
  %2 = parameter() {key = "w", type = "f32[5, 3]"} : f32[5, 3]
  %3 = relu(%1) : bf16[4, 3]
  %4 = cast(%3) {dtype = "f32"} : f32[4, 3]
  %5 = matmul(%4, %2) {full_precision = true, transpose_b = true} : f32[4, 5]
  return "y" = %5
)");
}

TEST(LowerToBf16, RefusesWhatIsLoweredAlready) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %2 = parameter() {key = "bias", type = "f32[3]"} : f32[3]
  %3 = conv(%0, %1, %2) {epilogue = ["bias"]} : f32[N, 3, 4, 4]
  return "y" = %3
)");
  PassContext context;
  EXPECT_TRUE(lower_to_bf16(graph, context));
  const std::uint64_t lowered = fingerprint(graph);
  EXPECT_FALSE(lower_to_bf16(graph, context));
  EXPECT_EQ(fingerprint(graph), lowered);
}

TEST(LowerToBf16, RefusesIntegersAndPreparedValues) {
  expect_refusal(kPass, R"(
  %0 = input() {name = "i", type = "i64[N]"} : i64[N]
  %1 = parameter() {key = "weight", type = "f32[4, 4]"} : f32[4, 4]
  %2 = add(%0, %0) : i64[N]
  %3 = matmul(%1, %1) : f32[4, 4]
  return "i" = %2, "w" = %3
)");
}

}  // namespace
}  // namespace facet
