#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "backends/cuda/cudnn_plan.h"
#include "backends/cuda/pooling.h"
#include "tests/cuda/cuda_case.h"
#include "tests/formats/temp_folder.h"
#include "tests/passes/pass_case.h"

// cuDNN's answers for an H200 that is not there.
namespace facet {
namespace {

using cuda::Engine;
using cuda::EngineRules;
using cuda::OperationGraph;
using ::testing::HasSubstr;

/// A 3 x 3 convolution of 64 channels on 28 x 28, with this epilogue.
OperationGraph convolution(const std::string& dtype, const std::string& epilogue = "") {
  const std::string map = dtype + "[8, 64, 28, 28]";
  const std::string weight = dtype + "[64, 64, 3, 3]";
  std::string body = "\n  %0 = input() {name = \"x\", type = \"" + map + "\"} : " + map +
                     "\n  %1 = input() {name = \"w\", type = \"" + weight + "\"} : " + weight +
                     "\n  %2 = input() {name = \"b\", type = \"f32[64]\"} : f32[64]\n";
  body += epilogue.empty() ? "  %3 = conv(%0, %1) {"
                           : "  %3 = conv(%0, %1, %2) {epilogue = [" + epilogue + "], ";
  const Graph graph =
      testing::parse_body(body + "pads = [1, 1, 1, 1]} : " + map + "\n  return \"y\" = %3\n");
  return cuda::convolution_graphs(*graph.node_list().back()).front();
}

TEST(CudnnPlanner, TheDescriptionOfAnH200IsTaken) {
  EXPECT_FALSE(test::h200_planner().engines(convolution("bf16"), {}).empty());
}

TEST(CudnnPlanner, ABrokenDescriptionIsRefusedWithTheReason) {
  EXPECT_THAT(test::error_of([] { const cuda::CudnnPlanner planner("{\"deviceVer\": "); }),
              HasSubstr("description of the device"));
}

TEST(CudnnPlanner, EpiloguesHaveEngines) {
  for (const char* dtype : {"bf16", "f16", "f32"}) {
    for (const char* epilogue :
         {"\"bias\"", "\"bias\", \"relu\"", "\"bias\", \"sigmoid\"", "\"prelu\""}) {
      EXPECT_FALSE(test::h200_planner().engines(convolution(dtype, epilogue), {}).empty())
          << dtype << " " << epilogue;
    }
  }
}

TEST(CudnnPlanner, StrictF32KeepsAwayFromTensorCores) {
  const OperationGraph graph = convolution("f32");
  const std::vector<Engine> strict = test::h200_planner().engines(graph, {.tf32 = false});
  const std::vector<Engine> tf32 = test::h200_planner().engines(graph, {.tf32 = true});
  ASSERT_FALSE(strict.empty());
  ASSERT_FALSE(tf32.empty());
  const auto uses_tensor_cores = [](const Engine& engine) { return engine.tensor_cores; };
  EXPECT_TRUE(std::ranges::none_of(strict, uses_tensor_cores));
  EXPECT_TRUE(std::ranges::any_of(tf32, uses_tensor_cores));
}

TEST(CudnnPlanner, StrictF32KeepsAwayFromTransforms) {
  const OperationGraph graph = convolution("f32");
  const auto transforms = [](const Engine& engine) { return engine.transforms; };
  EXPECT_TRUE(
      std::ranges::none_of(test::h200_planner().engines(graph, {.tf32 = false}), transforms));
}

TEST(CudnnPlanner, RulesNameWhatAnEngineMayDo) {
  const EngineRules strict;
  const EngineRules loose{.tf32 = true, .deterministic = false};
  Engine engine;
  EXPECT_TRUE(cuda::allows(strict, engine, DType::f32));
  engine.tensor_cores = true;
  EXPECT_FALSE(cuda::allows(strict, engine, DType::f32));
  EXPECT_TRUE(cuda::allows(strict, engine, DType::bf16));
  EXPECT_TRUE(cuda::allows(loose, engine, DType::f32));
  engine.tensor_cores = false;
  engine.transforms = true;
  EXPECT_FALSE(cuda::allows(strict, engine, DType::f32));
  EXPECT_TRUE(cuda::allows(strict, engine, DType::bf16));
  EXPECT_TRUE(cuda::allows(loose, engine, DType::f32));
  engine.is_deterministic = false;
  EXPECT_FALSE(cuda::allows(strict, engine, DType::bf16));
  EXPECT_TRUE(cuda::allows(loose, engine, DType::bf16));
  engine.rounds_sums = true;
  EXPECT_FALSE(cuda::allows(loose, engine, DType::bf16));
}

TEST(CudnnPlanner, PrecompiledEnginesGivePlansWithoutADriver) {
  const cuda::PlanResult plan = test::h200_planner().build_plan(convolution("bf16"), {});
  EXPECT_EQ(plan.refusal, "");
  EXPECT_GE(plan.workspace_bytes, 0);
}

TEST(CudnnPlanner, AGraphWithoutAnEngineIsNone) {
  cuda::CudnnPlanner& planner = test::h200_planner();
  EXPECT_TRUE(cuda::where_planned(planner, convolution("bf16"), {}));
  EXPECT_FALSE(cuda::where_planned(planner, std::nullopt, {}));
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "dy", type = "f32[2, 16, 4, 4]"} : f32[2, 16, 4, 4]
  %1 = avg_pool_bwd(%0) {height = 8, width = 8} : f32[2, 16, 8, 8]
  return "dx" = %1
)");
  const auto gradient = cuda::pooling_graph(*graph.node_list().back());
  EXPECT_FALSE(cuda::where_planned(planner, gradient, {.tf32 = false}));
  EXPECT_TRUE(cuda::where_planned(planner, gradient, {.tf32 = true}));
}

TEST(CudnnPlanner, AGraphThatIsNoneIsNamed) {
  OperationGraph graph = convolution("bf16");
  for (cuda::GraphTensor& tensor : graph.tensors) {
    if (tensor.place == cuda::GraphTensor::Place::result) tensor.extents[2] = 29;
  }
  const std::string error = test::error_of([&] { test::h200_planner().engines(graph, {}); });
  EXPECT_THAT(error, HasSubstr("cuDNN refuses the convolution"));
  EXPECT_THAT(error, HasSubstr("result0 : bf16[8, 64, 29, 28]"));
}

TEST(CudnnPlanner, SeveralPlansAreOfSeveralEngines) {
  const auto plans =
      test::h200_planner().make_plans(convolution("bf16"), {}, /*handle=*/nullptr, 4);
  EXPECT_EQ(plans.size(), 4u);
  std::set<std::string> texts;
  for (const auto& plan : plans) texts.insert(plan->text());
  EXPECT_EQ(texts.size(), 4u);
}

/// The planner of another process: it shares nothing but the folder.
cuda::CudnnPlanner planner_with(const std::filesystem::path& folder) {
  return cuda::CudnnPlanner(test::h200_description(), cuda::FileCache(folder, ".fcp", 1 << 24));
}

TEST(CudnnPlanner, KeptPlansAreTheSameInAnotherProcess) {
  const test::TempFolder folder;
  const OperationGraph graph = convolution("f16");
  std::shared_ptr<const cuda::CudnnPlan> made;
  {
    cuda::CudnnPlanner planner = planner_with(folder / "plans");
    EXPECT_EQ(planner.kept_plan(graph, {}, nullptr), nullptr);
    made = planner.make_plans(graph, {}, nullptr, 3).back();
    planner.keep_plan(graph, {}, *made);
  }
  cuda::CudnnPlanner planner = planner_with(folder / "plans");
  const auto kept = planner.kept_plan(graph, {}, nullptr);
  ASSERT_NE(kept, nullptr);
  EXPECT_EQ(kept->engine(), made->engine());
  EXPECT_EQ(kept->workspace_bytes(), made->workspace_bytes());
  EXPECT_EQ(kept->text(), made->text());
  // Another graph, other rules: not this plan.
  EXPECT_EQ(planner.kept_plan(convolution("bf16"), {}, nullptr), nullptr);
  EXPECT_EQ(planner.kept_plan(graph, {.deterministic = false}, nullptr), nullptr);
  EXPECT_EQ(planner.kept_plan(graph, {.timed = true}, nullptr), nullptr);
  EXPECT_EQ(test::h200_planner().kept_plan(graph, {}, nullptr), nullptr);  // without files
}

TEST(CudnnPlanner, KeptTextsThatAreNoPlansAreNone) {
  const test::TempFolder folder;
  const OperationGraph graph = convolution("bf16");
  cuda::CudnnPlanner planner = planner_with(folder / "plans");
  planner.keep_plan(graph, {}, *planner.make_plans(graph, {}, nullptr, 1).front());
  const auto file = std::filesystem::directory_iterator(folder / "plans")->path();
  const std::string whole = test::read_bytes(file);
  std::string broken = whole;  // of the same length, so that only cuDNN can tell
  const std::size_t at = broken.rfind("\"engine");
  ASSERT_NE(at, std::string::npos);
  broken.replace(at, 3, "\"xx");
  test::write_bytes(file, broken);
  EXPECT_EQ(planner.kept_plan(graph, {}, nullptr), nullptr);
  test::write_bytes(file, whole);
  EXPECT_NE(planner.kept_plan(graph, {}, nullptr), nullptr);
}

TEST(CudnnPlanner, AnswersDependOnTheRules) {
  const OperationGraph graph = convolution("f32");
  const auto first = test::h200_planner().engines(graph, {.tf32 = true}).size();
  const auto strict = test::h200_planner().engines(graph, {.tf32 = false}).size();
  EXPECT_NE(first, strict);
  EXPECT_EQ(test::h200_planner().engines(graph, {.tf32 = true}).size(), first);  // remembered
}

}  // namespace
}  // namespace facet
