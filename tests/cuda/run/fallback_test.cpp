#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/dsl.h"
#include "ir/error.h"
#include "passes/vector_jacobian.h"
#include "runtime/weights.h"
#include "tests/cuda/run/cuda_run.h"
#include "tests/passes/pass_case.h"

// cuDNN lists an engine and then builds no plan: what computes the step instead.
namespace facet {
namespace {

using cuda::GraphOp;
using cuda::OperationGraph;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

Graph network() {
  Network network("small");
  const Tensor x = network.input("x", {2, 8, 6, 6});
  const Scope s = network.root();
  Tensor y = relu(s.conv("conv1", x, {.out = 16, .kernel = 3, .padding = 1}));
  y = s.prelu("act", s.conv("conv2", y, {.out = 16, .kernel = 3, .padding = 1})) + y;
  network.output("shares", sigmoid(s.conv("conv3", avg_pool(y, {.kernel = 2}), {.out = 8})));
  return network.finish();
}

bool has_step(const OperationGraph& graph, GraphOp op) {
  return std::ranges::any_of(graph.steps, [&](const auto& step) { return step.op == op; });
}

HostTensor filled(const std::vector<std::int64_t>& extents) {
  HostTensor x(DType::f32, extents);
  for (std::int64_t i = 0; i < x.element_count(); ++i) {
    x.as_mutable<float>()[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));
  }
  return x;
}

HostTensor input() { return filled({2, 8, 6, 6}); }

TensorMap run(const Graph& graph, const std::shared_ptr<test::FakeDriver>& driver,
              const TensorMap& inputs, Precision precision) {
  CompileOptions options;
  options.precision = precision;
  return test::compile_on(driver, graph, trial_weights(graph, 1), options, 1)
      ->make_context()
      ->run(inputs);
}

class Fallback : public ::testing::TestWithParam<Precision> {
 protected:
  /// With and without plans for graphs that `refuses` is true of: within rounding of each other.
  void expect_same(const Graph& graph, const TensorMap& inputs,
                   const std::function<bool(const OperationGraph&)>& refuses) {
    const TensorMap expected = run(graph, std::make_shared<test::FakeDriver>(), inputs, GetParam());
    const auto driver = std::make_shared<test::FakeDriver>();
    int refused = 0;
    driver->refuses_plan = [&](const OperationGraph& one) {
      const bool is_refused = refuses(one);
      refused += is_refused ? 1 : 0;
      return is_refused;
    };
    const TensorMap found = run(graph, driver, inputs, GetParam());
    log_ = driver->log;
    EXPECT_GT(refused, 0);
    const double tolerance = GetParam() == Precision::f32 ? 1e-5 : 3e-2;
    for (const auto& [name, tensor] : expected) {
      double scale = 1e-3;
      for (const double value : tensor.to_doubles()) scale = std::max(scale, std::fabs(value));
      for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
        ASSERT_NEAR(found.at(name).at(i), tensor.at(i), tolerance * scale) << name << " at " << i;
      }
    }
  }

  std::vector<std::string> log_;  ///< of the run without these plans
};

TEST_P(Fallback, AnEpilogueOfAConvolutionIsAKernelOfItsOwn) {
  expect_same(network(), {{"x", input()}}, [](const OperationGraph& graph) {
    return has_step(graph, GraphOp::convolution) && graph.steps.size() > 1;
  });
}

TEST_P(Fallback, PoolingIsAKernel) {
  expect_same(network(), {{"x", input()}},
              [](const OperationGraph& graph) { return has_step(graph, GraphOp::avg_pool); });
}

TEST_P(Fallback, SumsOfWeightsGradientsAreRounded) {
  if (GetParam() == Precision::f32) return;  // nothing is there to round
  Network network("gradient");
  const Scope s = network.root();
  const Tensor x = network.input("x", {2, 8, 6, 6});
  network.output("y", s.conv("conv", x, {.out = 8, .kernel = 3, .padding = 1}));
  const Graph graph = vector_jacobian_product(network.finish(), {"y"});
  TensorMap inputs;
  for (const Node* one : graph.inputs()) {
    inputs.emplace(one->attributes().text("name"), input());
  }
  expect_same(graph, inputs, [](const OperationGraph& one) {
    return has_step(one, GraphOp::weights_gradient) && has_step(one, GraphOp::copy);
  });
}

/// Heads of 8 channels, clamped, in a network of so many tokens.
Graph attention(std::int64_t tokens) {
  const std::string x = fmt::format("f32[2, {}, 48]", tokens);
  const std::string y = fmt::format("f32[2, {}, 16]", tokens);
  return testing::parse_body("\n  %0 = input() {name = \"x\", type = \"" + x + "\"} : " + x + R"(
  %1 = sdpa(%0, %0, %0) {channel_axis = -1, clamp = [-0.5, 0.5], heads = 2, key = [16, 8, 8], query = [0, 8, 8], value = [32, 8, 8]} : )" +
                             y + "\n  return \"y\" = %1\n");
}

bool is_attention(const OperationGraph& graph) { return has_step(graph, GraphOp::reduce_max); }

TEST_P(Fallback, AttentionIsAKernelOrDecomposes) {
  if (GetParam() == Precision::f32) return;  // which no engine takes: they are kernels anyway
  expect_same(attention(20), {{"x", filled({2, 20, 48})}}, is_attention);
  EXPECT_THAT(log_, Contains("launch facet_attention"));
  // The kernel has no room for so many.
  expect_same(attention(600), {{"x", filled({2, 600, 48})}}, is_attention);
  EXPECT_THAT(log_, Not(Contains("launch facet_attention")));
}

TEST_P(Fallback, AStepThatNothingComputesIsNamed) {
  const auto driver = std::make_shared<test::FakeDriver>();
  driver->refuses_plan = [](const OperationGraph& graph) {
    return has_step(graph, GraphOp::convolution);
  };
  try {
    run(network(), driver, {{"x", input()}}, GetParam());
    ADD_FAILURE() << "it runs";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::failure);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("lowering conv 'conv1'"),
                                    HasSubstr("cuDNN builds no plan: refused")));
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, Fallback, ::testing::Values(Precision::f32, Precision::bf16),
                         [](const auto& each) { return std::string(to_string(each.param)); });

}  // namespace
}  // namespace facet
