#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;

constexpr std::string_view kPass = "move-reversals";

TEST(MoveReversals, FromTheProductToTheTable) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "q", type = "f32[2, 4, 9, 3]"} : f32[2, 4, 9, 3] @ "attn"
  %1 = input() {name = "table", type = "f32[17, 3]"} : f32[17, 3] @ "attn"
  %2 = matmul(%0, %1) {transpose_b = true} : f32[2, 4, 9, 17] @ "attn"
  %3 = reverse(%2) {axis = -1} : f32[2, 4, 9, 17] @ "attn.skew"
  return "y" = %3
)",
                 R"(
  %0 = input() {name = "q", type = "f32[2, 4, 9, 3]"} : f32[2, 4, 9, 3] @ "attn"
  %1 = input() {name = "table", type = "f32[17, 3]"} : f32[17, 3] @ "attn"
  %2 = reverse(%1) {axis = 0} : f32[17, 3] @ "attn"
  %3 = matmul(%0, %2) {transpose_b = true} : f32[2, 4, 9, 17] @ "attn"
  return "y" = %3
)");
}

// The gradients of the queries and of the table: along the contracted axis the table is reversed
// instead, otherwise the product, and behind the sum over the batch.
TEST(MoveReversals, FromAFactorToTheOtherAndBehindTheSum) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "q", type = "f32[2, 4, 3, 9]"} : f32[2, 4, 3, 9] @ "attn"
  %1 = input() {name = "table", type = "f32[3, 17]"} : f32[3, 17] @ "attn"
  %2 = input() {name = "d", type = "f32[2, 4, 9, 17]"} : f32[2, 4, 9, 17] @ "attn"
  %3 = reverse(%2) {axis = -1} : f32[2, 4, 9, 17] @ "attn"
  %4 = matmul(%1, %3) {transpose_b = true} : f32[2, 4, 3, 9] @ "attn"
  %5 = matmul(%0, %3) : f32[2, 4, 3, 17] @ "attn"
  %6 = reduce_sum(%5) {axes = [0, 1]} : f32[1, 1, 3, 17] @ "attn"
  return "dq" = %4, "dtable" = %6
)",
                 R"(
  %0 = input() {name = "q", type = "f32[2, 4, 3, 9]"} : f32[2, 4, 3, 9] @ "attn"
  %1 = input() {name = "table", type = "f32[3, 17]"} : f32[3, 17] @ "attn"
  %2 = input() {name = "d", type = "f32[2, 4, 9, 17]"} : f32[2, 4, 9, 17] @ "attn"
  %3 = reverse(%1) {axis = 1} : f32[3, 17] @ "attn"
  %4 = matmul(%3, %2) {transpose_b = true} : f32[2, 4, 3, 9] @ "attn"
  %5 = matmul(%0, %2) : f32[2, 4, 3, 17] @ "attn"
  %6 = reduce_sum(%5) {axes = [0, 1]} : f32[1, 1, 3, 17] @ "attn"
  %7 = reverse(%6) {axis = 3} : f32[1, 1, 3, 17] @ "attn"
  return "dq" = %4, "dtable" = %7
)");
}

TEST(MoveReversals, DistancesFromRowToColumnAreReversed) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "q", type = "f32[4, 9, 3]"} : f32[4, 9, 3] @ "attn"
  %1 = input() {name = "table", type = "f32[3, 17]"} : f32[3, 17] @ "attn"
  %2 = matmul(%0, %1) : f32[4, 9, 17] @ "attn"
  %3 = skew(%2) {distance = "i-j"} : f32[4, 9, 9] @ "attn"
  %4 = unskew(%3) {distance = "i-j"} : f32[4, 9, 17] @ "attn"
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "q", type = "f32[4, 9, 3]"} : f32[4, 9, 3] @ "attn"
  %1 = input() {name = "table", type = "f32[3, 17]"} : f32[3, 17] @ "attn"
  %2 = reverse(%1) {axis = 1} : f32[3, 17] @ "attn"
  %3 = matmul(%0, %2) : f32[4, 9, 17] @ "attn"
  %4 = skew(%3) : f32[4, 9, 9] @ "attn"
  %5 = unskew(%4) : f32[4, 9, 17] @ "attn"
  %6 = reverse(%5) {axis = 2} : f32[4, 9, 17] @ "attn"
  return "y" = %6
)");
  expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[4, 9, 17]"} : f32[4, 9, 17]
  %1 = skew(%0) : f32[4, 9, 9]
  return "y" = %1
)");
}

TEST(MoveReversals, RowsComeFromTheFirstFactor) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "a", type = "f32[2, 9]"} : f32[2, 9]
  %1 = input() {name = "b", type = "f32[2, 30]"} : f32[2, 30]
  %2 = matmul(%0, %1) {transpose_a = true} : f32[9, 30]
  %3 = reverse(%2) {axis = 0} : f32[9, 30]
  return "y" = %3
)",
                 R"(
  %0 = input() {name = "a", type = "f32[2, 9]"} : f32[2, 9]
  %1 = input() {name = "b", type = "f32[2, 30]"} : f32[2, 30]
  %2 = reverse(%0) {axis = 1} : f32[2, 9]
  %3 = matmul(%2, %1) {transpose_a = true} : f32[9, 30]
  return "y" = %3
)");
}

// Nothing becomes smaller; the product is read as it is, too; an axis of the batch; another reader.
TEST(MoveReversals, RefusesWhatGainsNothing) {
  expect_refusal(kPass, R"(
  %0 = input() {name = "a", type = "f32[2, 90]"} : f32[2, 90]
  %1 = input() {name = "b", type = "f32[90, 3]"} : f32[90, 3]
  %2 = matmul(%0, %1) : f32[2, 3]
  %3 = reverse(%2) {axis = -1} : f32[2, 3]
  return "y" = %3
)");
  expect_refusal(kPass, R"(
  %0 = input() {name = "q", type = "f32[4, 9, 3]"} : f32[4, 9, 3]
  %1 = input() {name = "table", type = "f32[3, 17]"} : f32[3, 17]
  %2 = matmul(%0, %1) : f32[4, 9, 17]
  %3 = reverse(%2) {axis = -1} : f32[4, 9, 17]
  %4 = add(%2, %3) : f32[4, 9, 17]
  return "y" = %4
)");
  expect_refusal(kPass, R"(
  %0 = input() {name = "q", type = "f32[4, 9, 3]"} : f32[4, 9, 3]
  %1 = input() {name = "table", type = "f32[3, 17]"} : f32[3, 17]
  %2 = matmul(%0, %1) : f32[4, 9, 17]
  %3 = reverse(%2) {axis = 0} : f32[4, 9, 17]
  return "y" = %3
)");
  expect_refusal(kPass, R"(
  %0 = input() {name = "d", type = "f32[4, 9, 17]"} : f32[4, 9, 17]
  %1 = input() {name = "table", type = "f32[17, 3]"} : f32[17, 3]
  %2 = reverse(%0) {axis = -1} : f32[4, 9, 17]
  %3 = matmul(%2, %1) : f32[4, 9, 3]
  %4 = relu(%2) : f32[4, 9, 17]
  return "y" = %3, "z" = %4
)");
  expect_refusal(kPass, R"(
  %0 = input() {name = "d", type = "f32[4, 9, 17]"} : f32[4, 9, 17]
  %1 = reverse(%0) {axis = -1} : f32[4, 9, 17]
  %2 = reduce_sum(%1) {axes = [2]} : f32[4, 9, 1]
  return "y" = %2
)");
}

}  // namespace
}  // namespace facet
