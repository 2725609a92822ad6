#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::changed;
using testing::expect_refusal;
using testing::expect_rewrite;
using testing::to_lines;

constexpr std::string_view kPass = "split-term-sums";

/// Two terms of two heads in one batch norm, and their sum.
constexpr std::string_view kHeads = R"(
  %0 = input() {name = "a", type = "f32[N, 2, 3, 3]"} : f32[N, 2, 3, 3] @ "attn"
  %1 = input() {name = "b", type = "f32[N, 2, 3, 3]"} : f32[N, 2, 3, 3] @ "attn"
  %2 = concat(%0, %1) {axis = 1} : f32[N, 4, 3, 3] @ "attn"
  %3 = parameter() {key = "n.gamma", type = "f32[4]"} : f32[4] @ "attn.norm"
  %4 = parameter() {key = "n.beta", type = "f32[4]"} : f32[4] @ "attn.norm"
  %5 = parameter() {key = "n.mean", type = "f32[4]"} : f32[4] @ "attn.norm"
  %6 = parameter() {key = "n.var", type = "f32[4]"} : f32[4] @ "attn.norm"
  %7 = batch_norm(%2, %3, %4, %5, %6) {epsilon = 0.001} : f32[N, 4, 3, 3] @ "attn.norm"
  %8 = reshape(%7) {shape = [0, 2, 2, 3, 3]} : f32[N, 2, 2, 3, 3] @ "attn.norm"
  %9 = reduce_sum(%8) {axes = [1]} : f32[N, 1, 2, 3, 3] @ "attn.norm"
  %10 = reshape(%9) {shape = [0, 2, 3, 3]} : f32[N, 2, 3, 3] @ "attn.norm"
  return "y" = %10
)";

// Each term keeps its own heads' share of the batch norm.
TEST(SplitTermSums, HeadsOfTwoTerms) {
  const auto remarks = expect_rewrite(kPass, kHeads, R"(
  %0 = input() {name = "a", type = "f32[N, 2, 3, 3]"} : f32[N, 2, 3, 3] @ "attn"
  %1 = input() {name = "b", type = "f32[N, 2, 3, 3]"} : f32[N, 2, 3, 3] @ "attn"
  %2 = parameter() {key = "n.gamma", type = "f32[4]"} : f32[4] @ "attn.norm"
  %3 = parameter() {key = "n.beta", type = "f32[4]"} : f32[4] @ "attn.norm"
  %4 = parameter() {key = "n.mean", type = "f32[4]"} : f32[4] @ "attn.norm"
  %5 = parameter() {key = "n.var", type = "f32[4]"} : f32[4] @ "attn.norm"
  %6 = slice(%2) {axis = 0, end = 2, start = 0} : f32[2] @ "attn.norm"
  %7 = slice(%3) {axis = 0, end = 2, start = 0} : f32[2] @ "attn.norm"
  %8 = slice(%4) {axis = 0, end = 2, start = 0} : f32[2] @ "attn.norm"
  %9 = slice(%5) {axis = 0, end = 2, start = 0} : f32[2] @ "attn.norm"
  %10 = batch_norm(%0, %6, %7, %8, %9) {epsilon = 0.001} : f32[N, 2, 3, 3] @ "attn.norm"
  %11 = slice(%2) {axis = 0, end = 4, start = 2} : f32[2] @ "attn.norm"
  %12 = slice(%3) {axis = 0, end = 4, start = 2} : f32[2] @ "attn.norm"
  %13 = slice(%4) {axis = 0, end = 4, start = 2} : f32[2] @ "attn.norm"
  %14 = slice(%5) {axis = 0, end = 4, start = 2} : f32[2] @ "attn.norm"
  %15 = batch_norm(%1, %11, %12, %13, %14) {epsilon = 0.001} : f32[N, 2, 3, 3] @ "attn.norm"
  %16 = add(%10, %15) : f32[N, 2, 3, 3] @ "attn.norm"
  %17 = reshape(%16) {shape = [0, 1, 2, 3, 3]} : f32[N, 1, 2, 3, 3] @ "attn.norm"
  %18 = reshape(%17) {shape = [0, 2, 3, 3]} : f32[N, 2, 3, 3] @ "attn.norm"
  return "y" = %18
)");
  EXPECT_EQ(to_lines(remarks), "applied split-term-sums @ attn.norm: sum(batch_norm(concat))\n");
}

// Channel 2c is of the first term, 2c + 1 of the second.
TEST(SplitTermSums, TermsThatTakeTurns) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4, 1, 6]"} : f32[N, 4, 1, 6] @ "attn"
  %1 = input() {name = "y", type = "f32[N, 4, 1, 6]"} : f32[N, 4, 1, 6] @ "attn"
  %2 = concat(%0, %1) {axis = 2} : f32[N, 4, 2, 6] @ "attn"
  %3 = reshape(%2) {shape = [0, 8, 6]} : f32[N, 8, 6] @ "attn"
  %4 = parameter() {key = "n.gamma", type = "f32[8]"} : f32[8] @ "attn.norm"
  %5 = parameter() {key = "n.beta", type = "f32[8]"} : f32[8] @ "attn.norm"
  %6 = parameter() {key = "n.mean", type = "f32[8]"} : f32[8] @ "attn.norm"
  %7 = parameter() {key = "n.var", type = "f32[8]"} : f32[8] @ "attn.norm"
  %8 = batch_norm(%3, %4, %5, %6, %7) : f32[N, 8, 6] @ "attn.norm"
  %9 = reshape(%8) {shape = [0, 4, 2, 6]} : f32[N, 4, 2, 6] @ "attn.norm"
  %10 = reduce_sum(%9) {axes = [2], keepdims = false} : f32[N, 4, 6] @ "attn.norm"
  return "y" = %10
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 4, 1, 6]"} : f32[N, 4, 1, 6] @ "attn"
  %1 = input() {name = "y", type = "f32[N, 4, 1, 6]"} : f32[N, 4, 1, 6] @ "attn"
  %2 = parameter() {key = "n.gamma", type = "f32[8]"} : f32[8] @ "attn.norm"
  %3 = parameter() {key = "n.beta", type = "f32[8]"} : f32[8] @ "attn.norm"
  %4 = parameter() {key = "n.mean", type = "f32[8]"} : f32[8] @ "attn.norm"
  %5 = parameter() {key = "n.var", type = "f32[8]"} : f32[8] @ "attn.norm"
  %6 = reshape(%2) {shape = [4, 2, 1]} : f32[4, 2, 1] @ "attn.norm"
  %7 = slice(%6) {axis = 1, end = 1, start = 0} : f32[4, 1, 1] @ "attn.norm"
  %8 = reshape(%7) {shape = [-1]} : f32[4] @ "attn.norm"
  %9 = reshape(%3) {shape = [4, 2, 1]} : f32[4, 2, 1] @ "attn.norm"
  %10 = slice(%9) {axis = 1, end = 1, start = 0} : f32[4, 1, 1] @ "attn.norm"
  %11 = reshape(%10) {shape = [-1]} : f32[4] @ "attn.norm"
  %12 = reshape(%4) {shape = [4, 2, 1]} : f32[4, 2, 1] @ "attn.norm"
  %13 = slice(%12) {axis = 1, end = 1, start = 0} : f32[4, 1, 1] @ "attn.norm"
  %14 = reshape(%13) {shape = [-1]} : f32[4] @ "attn.norm"
  %15 = reshape(%5) {shape = [4, 2, 1]} : f32[4, 2, 1] @ "attn.norm"
  %16 = slice(%15) {axis = 1, end = 1, start = 0} : f32[4, 1, 1] @ "attn.norm"
  %17 = reshape(%16) {shape = [-1]} : f32[4] @ "attn.norm"
  %18 = batch_norm(%0, %8, %11, %14, %17) : f32[N, 4, 1, 6] @ "attn.norm"
  %19 = reshape(%2) {shape = [4, 2, 1]} : f32[4, 2, 1] @ "attn.norm"
  %20 = slice(%19) {axis = 1, end = 2, start = 1} : f32[4, 1, 1] @ "attn.norm"
  %21 = reshape(%20) {shape = [-1]} : f32[4] @ "attn.norm"
  %22 = reshape(%3) {shape = [4, 2, 1]} : f32[4, 2, 1] @ "attn.norm"
  %23 = slice(%22) {axis = 1, end = 2, start = 1} : f32[4, 1, 1] @ "attn.norm"
  %24 = reshape(%23) {shape = [-1]} : f32[4] @ "attn.norm"
  %25 = reshape(%4) {shape = [4, 2, 1]} : f32[4, 2, 1] @ "attn.norm"
  %26 = slice(%25) {axis = 1, end = 2, start = 1} : f32[4, 1, 1] @ "attn.norm"
  %27 = reshape(%26) {shape = [-1]} : f32[4] @ "attn.norm"
  %28 = reshape(%5) {shape = [4, 2, 1]} : f32[4, 2, 1] @ "attn.norm"
  %29 = slice(%28) {axis = 1, end = 2, start = 1} : f32[4, 1, 1] @ "attn.norm"
  %30 = reshape(%29) {shape = [-1]} : f32[4] @ "attn.norm"
  %31 = batch_norm(%1, %21, %24, %27, %30) : f32[N, 4, 1, 6] @ "attn.norm"
  %32 = add(%18, %31) : f32[N, 4, 1, 6] @ "attn.norm"
  %33 = reshape(%32) {shape = [0, 4, 6]} : f32[N, 4, 6] @ "attn.norm"
  return "y" = %33
)");
  EXPECT_EQ(to_lines(remarks), "applied split-term-sums @ attn.norm: sum(batch_norm(concat))\n");
}

TEST(SplitTermSums, WithoutABatchNorm) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "a", type = "f32[N, 1, 6]"} : f32[N, 1, 6]
  %1 = input() {name = "b", type = "f32[N, 1, 6]"} : f32[N, 1, 6]
  %2 = input() {name = "c", type = "f32[N, 1, 6]"} : f32[N, 1, 6]
  %3 = concat(%0, %1, %2) {axis = 1} : f32[N, 3, 6]
  %4 = reduce_sum(%3) {axes = [1], keepdims = false} : f32[N, 6] @ "sum"
  return "y" = %4
)",
                                      R"(
  %0 = input() {name = "a", type = "f32[N, 1, 6]"} : f32[N, 1, 6]
  %1 = input() {name = "b", type = "f32[N, 1, 6]"} : f32[N, 1, 6]
  %2 = input() {name = "c", type = "f32[N, 1, 6]"} : f32[N, 1, 6]
  %3 = add(%0, %1) : f32[N, 1, 6] @ "sum"
  %4 = add(%3, %2) : f32[N, 1, 6] @ "sum"
  %5 = reshape(%4) {shape = [0, 6]} : f32[N, 6] @ "sum"
  return "y" = %5
)");
  EXPECT_EQ(to_lines(remarks), "applied split-term-sums @ sum: sum(concat)\n");
}

TEST(SplitTermSums, PartsInAnotherShapeThanTheBatchNorm) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "a", type = "f32[N, 6, 3]"} : f32[N, 6, 3]
  %1 = input() {name = "b", type = "f32[N, 6, 3]"} : f32[N, 6, 3]
  %2 = concat(%0, %1) {axis = 1} : f32[N, 12, 3]
  %3 = reshape(%2) {shape = [0, 4, 9]} : f32[N, 4, 9]
  %4 = parameter() {key = "n.gamma", type = "f32[4]"} : f32[4] @ "norm"
  %5 = parameter() {key = "n.beta", type = "f32[4]"} : f32[4] @ "norm"
  %6 = parameter() {key = "n.mean", type = "f32[4]"} : f32[4] @ "norm"
  %7 = parameter() {key = "n.var", type = "f32[4]"} : f32[4] @ "norm"
  %8 = batch_norm(%3, %4, %5, %6, %7) : f32[N, 4, 9] @ "norm"
  %9 = reshape(%8) {shape = [0, 2, 18]} : f32[N, 2, 18]
  %10 = reduce_sum(%9) {axes = [1], keepdims = false} : f32[N, 18]
  return "y" = %10
)",
                                      R"(
  %0 = input() {name = "a", type = "f32[N, 6, 3]"} : f32[N, 6, 3]
  %1 = input() {name = "b", type = "f32[N, 6, 3]"} : f32[N, 6, 3]
  %2 = parameter() {key = "n.gamma", type = "f32[4]"} : f32[4] @ "norm"
  %3 = parameter() {key = "n.beta", type = "f32[4]"} : f32[4] @ "norm"
  %4 = parameter() {key = "n.mean", type = "f32[4]"} : f32[4] @ "norm"
  %5 = parameter() {key = "n.var", type = "f32[4]"} : f32[4] @ "norm"
  %6 = reshape(%0) {shape = [0, 2, 9]} : f32[N, 2, 9] @ "norm"
  %7 = slice(%2) {axis = 0, end = 2, start = 0} : f32[2] @ "norm"
  %8 = slice(%3) {axis = 0, end = 2, start = 0} : f32[2] @ "norm"
  %9 = slice(%4) {axis = 0, end = 2, start = 0} : f32[2] @ "norm"
  %10 = slice(%5) {axis = 0, end = 2, start = 0} : f32[2] @ "norm"
  %11 = batch_norm(%6, %7, %8, %9, %10) : f32[N, 2, 9] @ "norm"
  %12 = reshape(%1) {shape = [0, 2, 9]} : f32[N, 2, 9] @ "norm"
  %13 = slice(%2) {axis = 0, end = 4, start = 2} : f32[2] @ "norm"
  %14 = slice(%3) {axis = 0, end = 4, start = 2} : f32[2] @ "norm"
  %15 = slice(%4) {axis = 0, end = 4, start = 2} : f32[2] @ "norm"
  %16 = slice(%5) {axis = 0, end = 4, start = 2} : f32[2] @ "norm"
  %17 = batch_norm(%12, %13, %14, %15, %16) : f32[N, 2, 9] @ "norm"
  %18 = add(%11, %17) : f32[N, 2, 9] @ "norm"
  %19 = reshape(%18) {shape = [0, 18]} : f32[N, 18] @ "norm"
  return "y" = %19
)");
  EXPECT_EQ(to_lines(remarks), "applied split-term-sums @ norm: sum(batch_norm(concat))\n");
}

/// Why the body's sum stays; the pass leaves the body as it is.
std::string reason(const std::string& body) {
  const std::vector<Remark> remarks = expect_refusal(kPass, body);
  EXPECT_EQ(remarks.size(), 1U);
  return remarks.empty() ? "" : remarks[0].reason;
}

TEST(SplitTermSums, RefusesStatisticsOfTheRun) {
  EXPECT_EQ(
      reason(changed(kHeads, "parameter() {key = \"n.mean\",", "input() {name = \"n.mean\",")),
      "the statistics are computed at run time");
}

TEST(SplitTermSums, RefusesASumOfSomethingElse) {
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "a", type = "f32[N, 2, 3, 3]"} : f32[N, 2, 3, 3]
  %1 = input() {name = "b", type = "f32[N, 2, 3, 3]"} : f32[N, 2, 3, 3]
  %2 = concat(%0, %1) {axis = 1} : f32[N, 4, 3, 3]
  %3 = reduce_sum(%2) {axes = [1]} : f32[N, 1, 3, 3]
  return "y" = %3
)"),
            "the summed axis does not count the parts");
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "a", type = "f32[N, 2, 3]"} : f32[N, 2, 3]
  %1 = input() {name = "b", type = "f32[N, 2, 3]"} : f32[N, 2, 3]
  %2 = concat(%0, %1) {axis = 2} : f32[N, 2, 6]
  %3 = reduce_sum(%2) {axes = [1]} : f32[N, 1, 6]
  return "y" = %3
)"),
            "the summed axis does not count the parts");
}

TEST(SplitTermSums, RefusesPartsOfDifferentSize) {
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "a", type = "f32[N, 1, 3]"} : f32[N, 1, 3]
  %1 = input() {name = "b", type = "f32[N, 2, 3]"} : f32[N, 2, 3]
  %2 = concat(%0, %1) {axis = 1} : f32[N, 3, 3]
  %3 = reduce_sum(%2) {axes = [1]} : f32[N, 1, 3]
  return "y" = %3
)"),
            "the parts have different shapes");
}

TEST(SplitTermSums, RefusesChannelsAcrossParts) {
  EXPECT_EQ(reason(R"(
  %0 = input() {name = "a", type = "f32[N, 1, 6]"} : f32[N, 1, 6]
  %1 = input() {name = "b", type = "f32[N, 1, 6]"} : f32[N, 1, 6]
  %2 = concat(%0, %1) {axis = 1} : f32[N, 2, 6]
  %3 = reshape(%2) {shape = [0, 1, 12]} : f32[N, 1, 12]
  %4 = parameter() {key = "n.gamma", type = "f32[1]"} : f32[1] @ "norm"
  %5 = parameter() {key = "n.beta", type = "f32[1]"} : f32[1] @ "norm"
  %6 = parameter() {key = "n.mean", type = "f32[1]"} : f32[1] @ "norm"
  %7 = parameter() {key = "n.var", type = "f32[1]"} : f32[1] @ "norm"
  %8 = batch_norm(%3, %4, %5, %6, %7) : f32[N, 1, 12] @ "norm"
  %9 = reshape(%8) {shape = [0, 2, 6]} : f32[N, 2, 6]
  %10 = reduce_sum(%9) {axes = [1]} : f32[N, 1, 6]
  return "y" = %10
)"),
            "a channel of the batch norm has several parts");
}

TEST(SplitTermSums, LeavesWhatOthersRead) {
  for (const std::string_view value : {"%2", "%7", "%8"}) {
    const std::string body =
        changed(kHeads, "return ", "return \"between\" = " + std::string(value) + ", ");
    EXPECT_TRUE(expect_refusal(kPass, body).empty()) << value;
  }
}

}  // namespace
}  // namespace facet
