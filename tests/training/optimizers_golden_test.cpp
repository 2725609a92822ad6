#include <fmt/format.h>
#include <gtest/gtest.h>

#include "passes/append_optimizer.h"
#include "tests/support/op_samples.h"
#include "tests/training/loss_case.h"

// optimizers.json: four steps of PyTorch's optimizers in float64.

namespace facet::testing {
namespace {

/// Four steps on the gradients of the file.
void expect_steps(const std::string& name, double lr, const OptimizerOptions& options) {
  SCOPED_TRACE(name);
  Network network("step");
  const Tensor gradient = network.input("gradient", {5, 7});
  network.root().parameter("param", {5, 7}, {});
  network.output("gradient", gradient + 0.0);
  Graph graph = network.finish();
  append_optimizer(graph, {{"param", graph.inputs().at(0)->result()}}, options);
  verify(graph);

  TensorMap state{{"param", uniform("param", {5, 7}, -1, 1)}};
  for (const Parameter& parameter : graph.parameters()) {
    state.try_emplace(parameter.key, DType::f64, static_extents(parameter.type.shape));
  }
  const nlohmann::json steps = read_json("optimizers").at("steps").at(name);
  for (std::size_t t = 0; t < steps.size(); ++t) {
    const TensorMap inputs{{"gradient", uniform(fmt::format("grad{}", t), {5, 7}, -1, 1)},
                           {"lr", HostTensor::from_doubles({1}, {lr})}};
    for (auto& [key, value] : evaluate_step(graph, inputs, state).updates) state[key] = value;
    EXPECT_LE(max_difference(read_tensor(steps[t]), state.at("param")), 1e-9) << "step " << t;
  }
}

TEST(OptimizersGolden, FourSteps) {
  using Kind = OptimizerOptions::Kind;
  expect_steps("sgd_momentum_wd", 0.1, {.momentum = 0.9, .weight_decay = 5e-4});
  expect_steps("sgd_nesterov_wd", 0.05, {.momentum = 0.9, .nesterov = true, .weight_decay = 8e-5});
  expect_steps("adam", 0.01, {.kind = Kind::adam});
  expect_steps("adamw", 0.001, {.kind = Kind::adamw, .weight_decay = 0.1});
}

}  // namespace
}  // namespace facet::testing
