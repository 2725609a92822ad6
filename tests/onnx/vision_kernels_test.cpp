#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "runtime/compile.h"
#include "runtime/formats/onnx/onnx_import.h"
#include "tests/support/paths.h"

// Operators of vision on the CPU: the backend suite says that they are right, this that none of the
// common forms is left to the oracle.

namespace facet {
namespace {

std::vector<std::string> implementations(const std::string& name) {
  const std::filesystem::path data = testing::onnx_test_data();
  const ImportedModel model = import_onnx(data / name / "model.onnx");
  std::vector<std::string> list;
  const auto executable = compile(model.graph, model.weights, {});
  for (const StepInfo& step : executable->program(1).steps) {
    list.push_back(step.implementation);
  }
  return list;
}

class VisionKernel : public ::testing::TestWithParam<const char*> {};

TEST_P(VisionKernel, RunsWithoutTheOracle) {
  const std::filesystem::path data = testing::onnx_test_data();
  if (!std::filesystem::exists(data / GetParam())) {
    GTEST_SKIP() << "libonnx-testdata is not installed";
  }
  const std::vector<std::string> steps = implementations(GetParam());
  EXPECT_FALSE(steps.empty());
  EXPECT_EQ(std::count(steps.begin(), steps.end(), "oracle"), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Onnx, VisionKernel,
    ::testing::Values(
        "node/test_conv_with_autopad_same", "node/test_conv_with_strides_and_asymmetric_padding",
        "pytorch-converted/test_Conv1d_dilated", "pytorch-converted/test_Conv2d_depthwise_strided",
        "pytorch-converted/test_Conv3d_groups", "pytorch-converted/test_Conv3d_dilated_strided",
        "node/test_convtranspose_1d", "node/test_convtranspose_3d",
        "node/test_convtranspose_output_shape", "node/test_averagepool_1d_default",
        "node/test_averagepool_2d_ceil", "node/test_averagepool_2d_dilations",
        "node/test_averagepool_2d_same_lower", "node/test_averagepool_3d_default",
        "node/test_averagepool_3d_dilations_small", "node/test_maxpool_1d_default",
        "node/test_maxpool_2d_ceil", "node/test_maxpool_3d_default", "node/test_lppool_2d_pads",
        "node/test_globalmaxpool", "node/test_lrn", "node/test_instancenorm_example",
        "node/test_group_normalization_example", "node/test_layer_normalization_4d_axis2",
        "node/test_batchnorm_example", "node/test_batchnorm_epsilon_training_mode"),
    [](const auto& test) {
      const std::string name = test.param;
      return name.substr(name.find("test_") + 5);
    });

/// Groups are normalised in one step, channels scaled and shifted in another.
TEST(VisionKernels, AGroupNormIsTwoSteps) {
  const std::filesystem::path data = testing::onnx_test_data();
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "libonnx-testdata is not installed";
  const std::vector<std::string> steps = implementations("node/test_group_normalization_example");
  const auto count = [&](const char* prefix) {
    return std::count_if(steps.begin(), steps.end(),
                         [&](const std::string& step) { return step.starts_with(prefix); });
  };
  EXPECT_EQ(count("layer_norm:"), 1);
  EXPECT_EQ(count("elementwise:"), 1) << ::testing::PrintToString(steps);
  EXPECT_EQ(count("reduce:"), 0);
}

}  // namespace
}  // namespace facet
