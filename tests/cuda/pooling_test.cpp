#include "backends/cuda/pooling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cuda/cuda_case.h"
#include "tests/passes/pass_case.h"

// Pooling as cuDNN graphs.
namespace facet {
namespace {

using ::testing::HasSubstr;

std::optional<cuda::OperationGraph> graph_of(const std::string& body) {
  const Graph graph = testing::parse_body(body);
  return cuda::pooling_graph(*graph.node_list().back());
}

std::string largest(const std::string& dtype) {
  const std::string x = dtype + "[2, 16, 9, 8]";
  return "\n  %0 = input() {name = \"x\", type = \"" + x + "\"} : " + x +
         "\n  %1 = max_pool(%0) {kernel = [3, 3], pads = [1, 1, 1, 1]} : " + dtype +
         "[2, 16, 5, 4]\n  return \"y\" = %1\n";
}

std::string mean_gradient(const std::string& dtype) {
  const std::string dy = dtype + "[2, 16, 4, 4]";
  return "\n  %0 = input() {name = \"dy\", type = \"" + dy + "\"} : " + dy +
         "\n  %1 = avg_pool_bwd(%0) {height = 8, width = 8} : " + dtype +
         "[2, 16, 8, 8]\n  return \"dx\" = %1\n";
}

TEST(CudaPooling, TheWindowSlidesOverNhwc) {
  const auto graph = graph_of(largest("bf16"));
  ASSERT_TRUE(graph);
  EXPECT_EQ("\n" + to_text(*graph), R"(
operand0 : bf16[2, 16, 9, 8] strides [1152, 1, 128, 16]
result0 : bf16[2, 16, 5, 4] strides [320, 1, 64, 16]
result0 = max_pool(operand0) strides [2, 2] pads [1, 1, 1, 1] kernel [3, 3]
)");
  const auto gradient = graph_of(mean_gradient("bf16"));
  ASSERT_TRUE(gradient);
  EXPECT_THAT(
      to_text(*gradient),
      HasSubstr("result0 = avg_pool_gradient(operand0) strides [2, 2] pads [0, 0, 0, 0] kernel [2, "
                "2]\n"));
}

TEST(CudaPooling, HasEnginesButForTheGradientOfAMeanInF32) {
  for (const char* dtype : {"f32", "bf16", "f16"}) {
    EXPECT_FALSE(test::h200_planner().engines(*graph_of(largest(dtype)), {}).empty()) << dtype;
    const bool has = !test::h200_planner().engines(*graph_of(mean_gradient(dtype)), {}).empty();
    EXPECT_EQ(has, std::string(dtype) != "f32");
  }
  const cuda::PlanResult plan = test::h200_planner().build_plan(*graph_of(largest("bf16")), {});
  EXPECT_THAT(plan.refusal, HasSubstr("compiles its kernel at run time, which needs a driver"));
}

TEST(CudaPooling, TheGradientOfAMaximumIsForKernels) {
  EXPECT_FALSE(graph_of(R"(
  %0 = input() {name = "dy", type = "f32[2, 16, 5, 4]"} : f32[2, 16, 5, 4]
  %1 = input() {name = "x", type = "f32[2, 16, 10, 8]"} : f32[2, 16, 10, 8]
  %2 = max_pool_bwd(%0, %1) : f32[2, 16, 10, 8]
  return "dx" = %2
)"));
}

}  // namespace
}  // namespace facet
