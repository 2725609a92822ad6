#include "backends/cuda/batch_norm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cuda/cuda_case.h"
#include "tests/passes/pass_case.h"

// Batch norms in training as cuDNN graphs.
namespace facet {
namespace {

using ::testing::HasSubstr;

/// The graph of batch_norm_train of 16 channels with this tail and extra operands behind the
/// statistics.
std::optional<cuda::OperationGraph> forward(const std::string& tail,
                                            const std::string& extra = "") {
  std::string body = R"(
  %0 = input() {name = "x", type = "bf16[2, 16, 5, 4]"} : bf16[2, 16, 5, 4]
  %1 = input() {name = "scale", type = "f32[16]"} : f32[16]
  %2 = input() {name = "bias", type = "f32[16]"} : f32[16]
  %3 = input() {name = "mean", type = "f32[16]"} : f32[16]
  %4 = input() {name = "var", type = "f32[16]"} : f32[16]
)";
  if (!extra.empty())
    body += "  %5 = input() {name = \"e\", type = \"" + extra + "\"} : " + extra + "\n";
  const std::string number = extra.empty() ? "5" : "6";
  body += "  %" + number + ":5 = batch_norm_train(%0, %1, %2, %3, %4" +
          (extra.empty() ? "" : ", %5") + ") {epsilon = 0.001, tail = [" + tail +
          "]} : (bf16[2, 16, 5, 4], f32[16], f32[16], f32[16], f32[16])\n  return \"y\" = %" +
          number + ".0\n";
  const Graph graph = testing::parse_body(body);
  return cuda::batch_norm_graph(*graph.node_list().back());
}

TEST(CudaBatchNorm, StatisticsMoveAndTheTailFollows) {
  const auto graph = forward("\"add\", \"relu\"", "bf16[2, 16, 5, 4]");
  ASSERT_TRUE(graph);
  EXPECT_EQ("\n" + to_text(*graph), R"(
operand0 : bf16[2, 16, 5, 4] strides [320, 1, 64, 16]
operand1 : f32[1, 16, 1, 1] strides [16, 1, 16, 16]
operand2 : f32[1, 16, 1, 1] strides [16, 1, 16, 16]
operand3 : f32[1, 16, 1, 1] strides [16, 1, 16, 16]
operand4 : f32[1, 16, 1, 1] strides [16, 1, 16, 16]
result0 : bf16[2, 16, 5, 4] strides [320, 1, 64, 16]
result1 : f32[1, 16, 1, 1] strides [16, 1, 16, 16]
result2 : f32[1, 16, 1, 1] strides [16, 1, 16, 16]
result3 : f32[1, 16, 1, 1] strides [16, 1, 16, 16]
result4 : f32[1, 16, 1, 1] strides [16, 1, 16, 16]
operand5 : bf16[2, 16, 5, 4] strides [320, 1, 64, 16]
%6, result1, result2, result3, result4 = batch_norm(operand0, operand1, operand2, operand3, operand4) settings [0.001, 0.1] : f32[2, 16, 5, 4]
%12 = add(%6, operand5) : f32[2, 16, 5, 4]
result0 = relu(%12)
)");
}

TEST(CudaBatchNorm, HasEnginesForReluAndNoGraphForPrelu) {
  for (const auto& graph :
       {forward(""), forward("\"relu\""), forward("\"add\", \"relu\"", "bf16[2, 16, 5, 4]")}) {
    ASSERT_TRUE(graph);
    EXPECT_FALSE(test::h200_planner().engines(*graph, {}).empty()) << to_text(*graph);
  }
  EXPECT_FALSE(forward("\"prelu\"", "f32[16]"));
}

TEST(CudaBatchNorm, TheGradientIsOneGraphWhereNothingMasksIt) {
  const char* const body = R"(
  %0 = input() {name = "dy", type = "f32[2, 16, 5, 4]"} : f32[2, 16, 5, 4]
  %1 = input() {name = "x", type = "f32[2, 16, 5, 4]"} : f32[2, 16, 5, 4]
  %2 = input() {name = "scale", type = "f32[16]"} : f32[16]
  %3 = input() {name = "mean", type = "f32[16]"} : f32[16]
  %4 = input() {name = "inv", type = "f32[16]"} : f32[16]
  %5:3 = batch_norm_bwd(%0, %1, %2, %3, %4) : (f32[2, 16, 5, 4], f32[16], f32[16])
  return "dx" = %5.0
)";
  const Graph graph = testing::parse_body(body);
  const auto gradient = cuda::batch_norm_graph(*graph.node_list().back());
  ASSERT_TRUE(gradient);
  EXPECT_THAT(to_text(*gradient),
              HasSubstr("result0, result1, result2 = batch_norm_gradient(operand0, "
                        "operand1, operand2, operand3, operand4)\n"));
  EXPECT_FALSE(test::h200_planner().engines(*gradient, {}).empty());
  const std::string masked =
      testing::changed(body, "batch_norm_bwd(%0, %1, %2, %3, %4)",
                       "batch_norm_bwd(%0, %1, %2, %3, %4, %4) {tail = [\"relu\"]}");
  const Graph behind_relu = testing::parse_body(masked);
  EXPECT_FALSE(cuda::batch_norm_graph(*behind_relu.node_list().back()));
}

}  // namespace
}  // namespace facet
