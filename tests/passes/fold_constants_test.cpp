#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;
using testing::to_lines;

constexpr std::string_view kPass = "fold-constants";

PassContext context(std::int64_t budget = 1 << 20) {
  PassContext result;
  result.evaluate = testing::reference_evaluator();
  result.fold_budget_bytes = budget;
  return result;
}

TEST(FoldConstants, WholeConstantExpressions) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2]"} : f32[N, 2]
  %1 = constant() {value = tensor<f32[2]; [4.0, 9.0]>} : f32[2]
  %2 = constant() {value = tensor<f32[]; [0.5]>} : f32[]
  %3 = sqrt(%1) : f32[2] @ "root"
  %4 = mul(%3, %2) : f32[2] @ "half"
  %5 = reshape(%4) {shape = [1, -1]} : f32[1, 2] @ "row"
  %6 = mul(%0, %5) : f32[N, 2]
  return "y" = %6
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2]"} : f32[N, 2]
  %1 = constant() {value = tensor<f32[2]; [4.0, 9.0]>} : f32[2]
  %2 = constant() {value = tensor<f32[]; [0.5]>} : f32[]
  %3 = constant() {value = tensor<f32[2]; [2.0, 3.0]>} : f32[2] @ "root"
  %4 = constant() {value = tensor<f32[2]; [1.0, 1.5]>} : f32[2] @ "half"
  %5 = constant() {value = tensor<f32[1, 2]; [1.0, 1.5]>} : f32[1, 2] @ "row"
  %6 = mul(%0, %5) : f32[N, 2]
  return "y" = %6
)",
                 context());
}

// The result has the dtype the node would have had, rounded once.
TEST(FoldConstants, KeepsDtypes) {
  const std::vector<Remark> remarks = expect_rewrite(kPass, R"(
  %0 = constant() {value = tensor<f32[2]; [1.0, 1.0078125]>} : f32[2]
  %1 = constant() {value = tensor<i64[2]; [7.0, -2.0]>} : i64[2]
  %2 = cast(%0) {dtype = "bf16"} : bf16[2]
  %3 = add(%1, %1) : i64[2]
  return "a" = %2, "b" = %3
)",
                                                     R"(
  %0 = constant() {value = tensor<f32[2]; [1.0, 1.0078125]>} : f32[2]
  %1 = constant() {value = tensor<i64[2]; [7.0, -2.0]>} : i64[2]
  %2 = constant() {value = tensor<bf16[2]; [1.0, 1.0078125]>} : bf16[2]
  %3 = constant() {value = tensor<i64[2]; [14.0, -4.0]>} : i64[2]
  return "a" = %2, "b" = %3
)",
                                                     context());
  EXPECT_EQ(to_lines(remarks), "");
}

TEST(FoldConstants, RefusesParametersAndInputs) {
  EXPECT_EQ(to_lines(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[2]"} : f32[2]
  %1 = parameter() {key = "p", type = "f32[2]"} : f32[2]
  %2 = constant() {value = tensor<f32[2]; [4.0, 9.0]>} : f32[2]
  %3 = exp(%1) : f32[2]
  %4 = mul(%3, %2) : f32[2]
  %5 = add(%0, %2) : f32[2]
  return "a" = %4, "b" = %5
)",
                                    context())),
            "");
}

TEST(FoldConstants, RefusesWhatGrowsOverTheBudget) {
  const std::string_view body = R"(
  %0 = constant() {value = tensor<f32[4, 1]; [1.0, 2.0, 3.0, 4.0]>} : f32[4, 1]
  %1 = constant() {value = tensor<f32[1, 4]; [1.0, 2.0, 3.0, 4.0]>} : f32[1, 4]
  %2 = mul(%0, %1) : f32[4, 4] @ "outer"
  return "y" = %2
)";
  // 64 bytes out of 32: 32 more.
  EXPECT_EQ(to_lines(expect_refusal(kPass, body, context(31))),
            "missed fold-constants @ outer: mul: the constant would grow from 32 to 64 bytes, over "
            "the budget of 31\n");
  EXPECT_EQ(to_lines(expect_rewrite(kPass, body, R"(
  %0 = constant() {value = tensor<f32[4, 1]; [1.0, 2.0, 3.0, 4.0]>} : f32[4, 1]
  %1 = constant() {value = tensor<f32[1, 4]; [1.0, 2.0, 3.0, 4.0]>} : f32[1, 4]
  %2 = constant() {value = tensor<f32[4, 4]; [1.0, 2.0, 3.0, 4.0, 2.0, 4.0, 6.0, 8.0, 3.0, 6.0, 9.0, 12.0, 4.0, 8.0, 12.0, 16.0]>} : f32[4, 4] @ "outer"
  return "y" = %2
)",
                                    context(32))),
            "");
}

// Growth counts from one node to the next, so that a chain does not spend the budget twice over.
TEST(FoldConstants, StopsBehindARefusal) {
  expect_refusal(kPass, R"(
  %0 = constant() {value = tensor<f32[4, 1]; [1.0, 2.0, 3.0, 4.0]>} : f32[4, 1]
  %1 = constant() {value = tensor<f32[1, 4]; [1.0, 2.0, 3.0, 4.0]>} : f32[1, 4]
  %2 = mul(%0, %1) : f32[4, 4] @ "outer"
  %3 = reduce_sum(%2) {axes = [0, 1]} : f32[1, 1]
  return "y" = %3
)",
                 context(0));
}

TEST(FoldConstants, RefusesWithoutAnEvaluator) {
  expect_refusal(kPass, R"(
  %0 = constant() {value = tensor<f32[]; [4.0]>} : f32[]
  %1 = sqrt(%0) : f32[]
  return "y" = %1
)");
}

}  // namespace
}  // namespace facet
