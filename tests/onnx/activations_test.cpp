#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/compile.h"
#include "runtime/formats/onnx/onnx_import.h"

// Activations and what ONNX itself spells them as: each is one kernel, comparisons and choices and
// all.

namespace facet {
namespace {

class Activation : public ::testing::TestWithParam<const char*> {};

TEST_P(Activation, IsOneKernel) {
  const std::filesystem::path folder = FACET_ONNX_TEST_DATA;
  const std::filesystem::path path =
      folder / "node" / (std::string("test_") + GetParam()) / "model.onnx";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "libonnx-testdata is not installed";
  const ImportedModel model = import_onnx(path);
  const auto executable = compile(model.graph, model.weights, {});
  const std::vector<StepInfo>& steps = executable->program(1).steps;
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_TRUE(steps[0].implementation.starts_with("elementwise:")) << steps[0].implementation;
}

INSTANTIATE_TEST_SUITE_P(
    Onnx, Activation,
    ::testing::Values("elu", "elu_expanded_ver18", "celu", "celu_expanded", "selu",
                      "selu_expanded_ver18", "gelu_default_1", "gelu_tanh_1",
                      "gelu_tanh_1_expanded", "hardsigmoid", "hardsigmoid_expanded_ver18",
                      "hardswish", "hardswish_expanded", "leakyrelu", "leakyrelu_expanded", "mish",
                      "mish_expanded", "prelu_broadcast", "shrink_hard",
                      "shrink_hard_expanded_ver18", "shrink_soft", "softplus",
                      "softplus_expanded_ver18", "softsign", "softsign_expanded_ver18",
                      "thresholdedrelu", "thresholdedrelu_expanded_ver18", "clip", "round", "sin"),
    [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace facet
