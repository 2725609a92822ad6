#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "backends/reference/reference.h"
#include "ir/op.h"
#include "passes/differentiate.h"
#include "runtime/compile.h"
#include "runtime/formats/onnx/onnx_import.h"
#include "tests/support/paths.h"

// Activations and what ONNX itself spells them as: each is one kernel, comparisons and choices and
// all.

namespace facet {
namespace {

class Activation : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::filesystem::path folder = testing::onnx_test_data();
    path_ = folder / "node" / (std::string("test_") + GetParam()) / "model.onnx";
    if (!std::filesystem::exists(path_)) GTEST_SKIP() << "libonnx-testdata is not installed";
  }
  std::filesystem::path path_;
};

TEST_P(Activation, IsOneKernel) {
  const ImportedModel model = import_onnx(path_);
  const auto executable = compile(model.graph, model.weights, {});
  const std::vector<StepInfo>& steps = executable->program(1).steps;
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_TRUE(steps[0].implementation.starts_with("elementwise:")) << steps[0].implementation;
}

/// Values on both sides of every kink, and some whose exponentials overflow in f32.
HostTensor steep(const Type& type) {
  constexpr double kValues[] = {-200, -95, -7.3, -2.9, -1.7, -0.6, -0.1,
                                0.1,  0.6, 1.7,  2.9,  7.3,  95};
  HostTensor x(DType::f32, static_extents(type.shape));
  for (std::int64_t i = 0; i < x.element_count(); ++i) {
    x.as_mutable<float>()[i] = static_cast<float>(kValues[i % std::size(kValues)]);
  }
  return x;
}

/// Those with a slope of their own: not ONNX's expanded formulas, which multiply infinities by 0, nor
/// clip, whose bounds are inputs too, nor round, which is constant between its steps.
class SmoothActivation : public Activation {};

// Each result is a function of its own element alone, so one cotangent of ones gives all slopes.
TEST_P(SmoothActivation, HasItsSlopeForSteepValuesToo) {
  ImportedModel model = import_onnx(path_);
  Graph& graph = model.graph;
  TensorMap inputs;
  for (const Node* node : graph.inputs()) {
    inputs[node->attributes().text("name")] = steep(node->result_types()[0]);
  }
  const std::string name = graph.inputs()[0]->attributes().text("name");
  const auto value_at = [&](double step) {
    TensorMap moved = inputs;
    HostTensor x = inputs.at(name).cast(DType::f64).clone();
    for (std::int64_t i = 0; i < x.element_count(); ++i) x.as_mutable<double>()[i] += step;
    moved[name] = x;
    return evaluate(graph, moved, model.weights).begin()->second;
  };
  const HostTensor above = value_at(1e-5), below = value_at(-1e-5);
  const Value y = graph.outputs()[0].value;
  Builder build(graph, nullptr, {});
  HostTensor one_each(DType::f32, static_extents(y.shape()));
  std::fill_n(one_each.as_mutable<float>(), one_each.element_count(), 1.0f);
  const Value ones = build("constant", {}, {{"value", one_each}});
  const Seed seed{y, ones};
  const Value x = graph.inputs()[0]->result();
  const std::vector<Value> slopes = differentiate(graph, {&seed, 1}, {&x, 1});
  ASSERT_TRUE(slopes[0]);
  graph.outputs() = {{"slope", slopes[0]}};
  const HostTensor slope =
      compile(graph, model.weights, {})->make_context()->run(inputs).at("slope");
  for (std::int64_t i = 0; i < slope.element_count(); ++i) {
    const double expected = (above.at(i) - below.at(i)) / 2e-5;
    EXPECT_NEAR(slope.at(i), expected, 1e-4 * std::max(std::fabs(expected), 1.0))
        << "at " << inputs.at(name).at(i);
  }
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

INSTANTIATE_TEST_SUITE_P(
    Onnx, SmoothActivation,
    ::testing::Values("elu", "celu", "selu", "gelu_default_1", "gelu_tanh_1", "hardsigmoid",
                      "hardswish", "leakyrelu", "mish", "prelu_broadcast", "shrink_hard",
                      "shrink_soft", "softplus", "softsign", "thresholdedrelu", "sin"),
    [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace facet
