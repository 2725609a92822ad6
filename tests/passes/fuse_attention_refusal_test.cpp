#include "tests/passes/attention_bodies.h"
#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::changed;
using testing::expect_refusal;
using testing::kClampedBody;
using testing::kMapBody;
using testing::kRasterBody;
using testing::kTextbookBody;

constexpr std::string_view kPass = "fuse-attention";

/// Why the body's attention is refused; the pass leaves the body as it is.
std::string reason(const std::string& body) {
  const std::vector<Remark> remarks = expect_refusal(kPass, body);
  EXPECT_EQ(remarks.size(), 1U);
  if (remarks.empty()) return {};
  EXPECT_EQ(remarks[0].kind, Remark::Kind::missed);
  EXPECT_EQ(remarks[0].pattern, "sdpa");
  return remarks[0].reason;
}

TEST(FuseAttentionRefusal, TheScoresHaveTwoReaders) {
  EXPECT_EQ(reason(changed(kTextbookBody, "return ", "return \"scores\" = %11, ")),
            "the scores have 2 readers");
  EXPECT_EQ(reason(changed(kClampedBody, "return ", "return \"scores\" = %7, ")),
            "the scores have 2 readers");
  EXPECT_EQ(reason(changed(kRasterBody, "return ", "return \"places\" = %9, ")),
            "the scores have 2 readers");
  EXPECT_EQ(reason(changed(kMapBody, "return ", "return \"places\" = %16, ")),
            "the scores have 2 readers");
}

TEST(FuseAttentionRefusal, TheWeightsHaveTwoReaders) {
  EXPECT_EQ(reason(changed(kTextbookBody, "return ", "return \"weights\" = %14, ")),
            "the weights are an output");
  EXPECT_EQ(reason(changed(kClampedBody, "  return \"y\" = %12",
                           "  %13 = tanh(%9) : f32[N, 6, 6]\n  return \"y\" = %12, \"z\" = %13")),
            "the weights have 2 readers");
}

TEST(FuseAttentionRefusal, TheSoftmaxRunsOverTheQueries) {
  EXPECT_EQ(reason(changed(kTextbookBody, "softmax(%13)", "softmax(%13) {axis = 2}")),
            "the softmax runs over another axis than the last");
}

TEST(FuseAttentionRefusal, TheValuesMeetTheQueries) {
  EXPECT_EQ(reason(changed(kClampedBody, "matmul(%6, %9) {transpose_b = true}", "matmul(%6, %9)")),
            "the values are mixed along the queries");
}

TEST(FuseAttentionRefusal, TheScaleIsComputedAtRunTime) {
  EXPECT_EQ(reason(changed(kTextbookBody, "constant() {value = tensor<f32[]; [0.5]>}",
                           "input() {name = \"scale\", type = \"f32[]\"}")),
            "the scale is computed at run time");
}

TEST(FuseAttentionRefusal, TheScaleVariesAlongTheKeys) {
  EXPECT_EQ(
      reason(changed(kTextbookBody, "constant() {value = tensor<f32[]; [0.5]>} : f32[] @ \"attn\"",
                     "parameter() {key = \"scale\", type = \"f32[5]\"} : f32[5]")),
      "the scale varies along the tokens");
}

TEST(FuseAttentionRefusal, TheBiasHasMoreHeadsThanTheScores) {
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "x", type = "f32[N, 1, 6, 4]"} : f32[N, 1, 6, 4]
  %1 = matmul(%0, %0) {transpose_b = true} : f32[N, 1, 6, 6]
  %2 = parameter() {key = "mask", type = "f32[1, 3, 6, 6]"} : f32[1, 3, 6, 6]
  %3 = add(%1, %2) : f32[N, 3, 6, 6]
  %4 = softmax(%3) : f32[N, 3, 6, 6]
  %5 = matmul(%4, %0) : f32[N, 3, 6, 4]
  return "y" = %5
)"),
            "the bias varies along an axis that the scores lack");
}

TEST(FuseAttentionRefusal, SomethingElseStandsAmongTheScores) {
  EXPECT_EQ(reason(changed(kClampedBody, "clamp(%7) {max = 1.0, min = -1.0}", "tanh(%7)")),
            "tanh stands among the scores");
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4]"} : f32[N, 6, 4]
  %1 = matmul(%0, %0) {transpose_b = true} : f32[N, 6, 6]
  %2 = tanh(%0) : f32[N, 6, 4]
  %3 = matmul(%2, %2) {transpose_b = true} : f32[N, 6, 6]
  %4 = add(%1, %3) : f32[N, 6, 6]
  %5 = softmax(%4) : f32[N, 6, 6]
  %6 = matmul(%5, %0) : f32[N, 6, 4]
  return "y" = %6
)"),
            "the scores hold two products of tokens");
}

// A shift that is the same for all keys counts as soon as something is clamped behind it.
TEST(FuseAttentionRefusal, WhatStandsAheadOfAClamp) {
  const auto body = [](std::string_view line, std::string_view result) {
    return R"(
  %0 = input() {name = "x", type = "f32[N, 2, 6, 4]"} : f32[N, 2, 6, 4]
  %1 = matmul(%0, %0) {transpose_b = true} : f32[N, 2, 6, 6]
  %2 = parameter() {key = "one.gamma", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "two", type = "f32[6]"} : f32[6]
)" + std::string(line) +
           R"( : f32[N, 2, 6, 6]
  %5 = clamp(%4) {max = 1.0, min = -1.0} : f32[N, 2, 6, 6]
)" + std::string(result) +
           R"( : f32[N, 2, 6, 6]
  %7 = softmax(%6) : f32[N, 2, 6, 6]
  %8 = matmul(%7, %0) : f32[N, 2, 6, 4]
  return "y" = %8
)";
  };
  const std::string plain = "  %6 = add(%5, %3)";
  EXPECT_EQ(reason(body("  %4 = batch_norm(%1, %2, %2, %2, %2)", plain)),
            "the shift of a batch norm counts ahead of the clamp");
  EXPECT_EQ(reason(body("  %4 = add(%1, %3)", plain)), "a bias stands ahead of the clamp");
  EXPECT_EQ(reason(body("  %4 = neg(%1)", "  %6 = batch_norm(%5, %2, %2, %2, %2)")),
            "the clamped scores are scaled");
}

TEST(FuseAttentionRefusal, TheBatchNormRunsOverTokens) {
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4]"} : f32[N, 6, 4]
  %1 = matmul(%0, %0) {transpose_b = true} : f32[N, 6, 6]
  %2 = parameter() {key = "gamma", type = "f32[6]"} : f32[6]
  %3 = batch_norm(%1, %2, %2, %2, %2) : f32[N, 6, 6]
  %4 = softmax(%3) : f32[N, 6, 6]
  %5 = matmul(%4, %0) : f32[N, 6, 4]
  return "y" = %5
)"),
            "the batch norm does not run over the heads");
}

TEST(FuseAttentionRefusal, TokensAreSymbolic) {
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "x", type = "f32[2, N, 4]"} : f32[2, N, 4]
  %1 = matmul(%0, %0) {transpose_b = true} : f32[2, N, N]
  %2 = softmax(%1) : f32[2, N, N]
  %3 = matmul(%2, %0) : f32[2, N, 4]
  return "y" = %3
)"),
            "the number of tokens or heads is symbolic");
}

// Channel c of head g is channel 2 * c + g.
TEST(FuseAttentionRefusal, HeadsTakeTurnsInTheChannels) {
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "x", type = "f32[N, 5, 8]"} : f32[N, 5, 8]
  %1 = reshape(%0) {shape = [0, 5, 4, 2]} : f32[N, 5, 4, 2]
  %2 = transpose(%1) {permutation = [0, 3, 1, 2]} : f32[N, 2, 5, 4]
  %3 = matmul(%2, %2) {transpose_b = true} : f32[N, 2, 5, 5]
  %4 = softmax(%3) : f32[N, 2, 5, 5]
  %5 = matmul(%4, %2) : f32[N, 2, 5, 4]
  return "y" = %5
)"),
            "the heads of queries, keys and values are no runs of channels in one order");
}

TEST(FuseAttentionRefusal, KeysAreSharedByTheHeads) {
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 4]"} : f32[N, 2, 5, 4]
  %1 = input() {name = "k", type = "f32[N, 1, 5, 4]"} : f32[N, 1, 5, 4]
  %2 = matmul(%0, %1) {transpose_b = true} : f32[N, 2, 5, 5]
  %3 = softmax(%2) : f32[N, 2, 5, 5]
  %4 = matmul(%3, %0) : f32[N, 2, 5, 4]
  return "y" = %4
)"),
            "queries and keys differ in batch or heads");
}

TEST(FuseAttentionRefusal, TablesOfAnotherKind) {
  EXPECT_EQ(
      reason(changed(kRasterBody,
                     "parameter() {key = \"query_table\", type = \"f32[4, 11]\"} : f32[4, 11]",
                     "parameter() {key = \"query_table\", type = \"f32[2, 4, 11]\"} : "
                     "f32[2, 4, 11]")),
      "each head has relative positions of its own");
  EXPECT_EQ(reason(changed(kRasterBody, "parameter() {key = \"value_table\",",
                           "input() {name = \"value_table\",")),
            "the table of relative positions is computed at run time");
  EXPECT_EQ(reason(changed(kRasterBody, "matmul(%2, %6)", "matmul(%3, %6)")),
            "relative positions are of other queries than the scores");
  EXPECT_EQ(reason(changed(kRasterBody, "matmul(%3, %7)", "matmul(%2, %7)")),
            "relative positions are of other keys than the scores");
  EXPECT_EQ(reason(changed(kRasterBody, "transpose(%12) {permutation = [0, 1, 3, 2]}", "exp(%12)")),
            "exp stands among the scores");
  EXPECT_EQ(reason(changed(kRasterBody, "skew(%9) {distance = \"i-j\"}",
                           "slice(%9) {axis = 3, end = 6, start = 0}")),
            "slice stands among the scores");
}

TEST(FuseAttentionRefusal, ValuesAndTheirTableStayApart) {
  EXPECT_EQ(reason(changed(kRasterBody, "%47 = add(%41, %46)", "%47 = maximum(%41, %46)")),
            "values and relative values are not added");
  EXPECT_EQ(reason(changed(kRasterBody, "return ", "return \"places\" = %46, ")),
            "values and relative values are not added");
}

// On a square map nothing but the order of the axes tells rows from columns.
TEST(FuseAttentionRefusal, ColumnsInThePlaceOfRows) {
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "x", type = "f32[N, 3, 4]"} : f32[N, 3, 4]
  %1 = parameter() {key = "rows", type = "f32[3, 3]"} : f32[3, 3]
  %2 = matmul(%0, %0) {transpose_a = true} : f32[N, 4, 4]
  %3 = matmul(%0, %1) {transpose_a = true, transpose_b = true} : f32[N, 4, 3]
  %4 = reshape(%3) {shape = [0, 2, 2, 3]} : f32[N, 2, 2, 3]
  %5 = skew(%4) : f32[N, 2, 2, 2]
  %6 = reshape(%5) {shape = [0, 4, 1, 2]} : f32[N, 4, 1, 2]
  %7 = matmul(%0, %1) {transpose_a = true, transpose_b = true} : f32[N, 4, 3]
  %8 = reshape(%7) {shape = [0, 2, 2, 3]} : f32[N, 2, 2, 3]
  %9 = skew(%8) : f32[N, 2, 2, 2]
  %10 = reshape(%9) {shape = [0, 4, 2, 1]} : f32[N, 4, 2, 1]
  %11 = add(%6, %10) : f32[N, 4, 2, 2]
  %12 = reshape(%11) {shape = [0, 4, 4]} : f32[N, 4, 4]
  %13 = add(%2, %12) : f32[N, 4, 4]
  %14 = softmax(%13) : f32[N, 4, 4]
  %15 = matmul(%0, %14) {transpose_b = true} : f32[N, 3, 4]
  return "y" = %15
)"),
            "relative positions on the map are not in the order of its places");
}

// A classifier is no near miss, nor is a softmax that gates something.
TEST(FuseAttentionRefusal, OtherSoftmaxesAreNotMentioned) {
  EXPECT_TRUE(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4]"} : f32[N, 2, 4]
  %1 = parameter() {key = "weight", type = "f32[5, 4]"} : f32[5, 4]
  %2 = linear(%0, %1) : f32[N, 2, 5]
  %3 = softmax(%2) : f32[N, 2, 5]
  %4 = mul(%3, %2) : f32[N, 2, 5]
  %5 = softmax(%4) : f32[N, 2, 5]
  %6 = matmul(%5, %4) {transpose_a = true} : f32[N, 5, 5]
  return "y" = %6
)")
                  .empty());
}

}  // namespace
}  // namespace facet
