#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/dsl.h"
#include "runtime/step_groups.h"
#include "runtime/weights.h"
#include "tests/cuda/run/cuda_run.h"
#include "training/step.h"

// Updates of one formula are one launch, in any training step, with the values of single ones.
namespace facet {
namespace {

using ::testing::ElementsAre;

constexpr std::int64_t kBatch = 2;

Graph network() {
  Network network("small");
  const Tensor x = network.input("x", {"N", 3, 5, 5});
  const Scope s = network.root();
  const Tensor y =
      relu(s.batch_norm("bn", s.conv("conv", x, {.out = 8, .kernel = 3, .bias = false})));
  network.output("logits", s.linear("fc", flatten(y), {.out = 4}));
  return network.finish();
}

Graph training_step(const OptimizerOptions& optimizer) {
  StepOptions options;
  options.optimizer = optimizer;
  options.batch = kBatch;
  return make_training_step(network(), options);
}

TensorMap step_inputs() {
  HostTensor x(DType::f32, {kBatch, 3, 5, 5});
  for (std::int64_t i = 0; i < x.element_count(); ++i) {
    x.as_mutable<float>()[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));
  }
  HostTensor labels(DType::i64, {kBatch});
  labels.as_mutable<std::int64_t>()[1] = 3;
  return {{"x", x}, {"labels", labels}, {"lr", HostTensor::from_floats({1}, {0.1F})}};
}

/// Of update kernels, in the first step.
std::int64_t launches(const Graph& step, const TensorMap& weights) {
  const auto driver = std::make_shared<test::FakeDriver>();
  test::compile_on(driver, step, weights, {}, 1)->make_context()->run(step_inputs());
  return std::ranges::count(driver->log, "launch facet_update");
}

/// The state behind three steps.
TensorMap trained(const Graph& step, const TensorMap& weights) {
  const auto context = test::compile_on_gpu(step, weights)->make_context();
  for (int i = 0; i < 3; ++i) context->run(step_inputs());
  return context->state().snapshot();
}

void expect_oracle(const Graph& step, const TensorMap& weights, const TensorMap& found) {
  CompileOptions exact;
  exact.device = Device::reference;
  const auto oracle = compile(step, weights, exact)->make_context();
  for (int i = 0; i < 3; ++i) oracle->run(step_inputs());
  for (const auto& [key, tensor] : oracle->state().tensors()) {
    for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
      ASSERT_NEAR(found.at(key).at(i), tensor.at(i), 1e-4 * (1 + std::fabs(tensor.at(i))))
          << key << " at " << i;
    }
  }
}

struct Case {
  const char* name;
  OptimizerOptions optimizer;
  std::int64_t launches;
};

class UpdateGroups : public ::testing::TestWithParam<Case> {};

TEST_P(UpdateGroups, AreOneLaunchForEachFormula) {
  const Graph step = training_step(GetParam().optimizer);
  TensorMap weights = trial_weights(step, 1);
  start_averages(step, weights);
  EXPECT_EQ(launches(step, weights), GetParam().launches);
}

TEST_P(UpdateGroups, StepLikeTheOracleWithTheSameBitsAgain) {
  const Graph step = training_step(GetParam().optimizer);
  TensorMap weights = trial_weights(step, 1);
  start_averages(step, weights);
  const TensorMap found = trained(step, weights);
  expect_oracle(step, weights, found);
  for (const auto& [key, tensor] : trained(step, weights)) {
    EXPECT_TRUE(
        std::equal(tensor.data(), tensor.data() + tensor.byte_count(), found.at(key).data()))
        << key;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Optimizers, UpdateGroups,
    ::testing::Values(
        Case{"Sgd", {.weight_decay = 0.01}, 1},
        Case{"SgdOfTwoDecays", {.weight_decay = 0.01, .decay_norm_and_bias = false}, 2},
        Case{"SgdClipped", {.clip_norm = 0.5}, 1},
        Case{"SgdWithAverages", {.weight_decay = 0.01, .ema_decay = 0.9}, 2},
        Case{"AdamWithAverages",
             {.kind = OptimizerOptions::Kind::adam, .epsilon = 1e-3, .ema_decay = 0.9},
             2}),
    [](const auto& each) { return std::string(each.param.name); });

/// Two parameters that SGD steps; the second's gradient is the new first one where `reads_new`.
Graph two_updates(bool reads_new) {
  Graph graph("two");
  for (const char* key : {"a", "b", "va", "vb"}) {
    Parameter parameter;
    parameter.key = key;
    parameter.type = Type{DType::f32, {8}, {}};
    graph.parameters().push_back(parameter);
  }
  const auto input = [&](const char* name, const char* type) {
    return graph.create("input", {}, {{"name", std::string(name)}, {"type", std::string(type)}})
        ->result();
  };
  const Value x = input("x", "f32[8]");
  const Value lr = input("lr", "f32[1]");
  const Attributes settings{{"momentum", 0.9}, {"weight_decay", 0.0}, {"nesterov", false}};
  const auto update = [&](const std::string& key, Value gradient) {
    Node* node = graph.create("sgd_update",
                              {graph.read_parameter(key)->result(),
                               graph.read_parameter("v" + key)->result(), gradient, lr},
                              settings);
    graph.add_update(key, node->result(0));
    graph.add_update("v" + key, node->result(1));
    return node;
  };
  const Value new_a = update("a", x)->result(0);
  const Value y = graph.create("mul", {reads_new ? new_a : x, x})->result();
  update("b", y);
  graph.outputs() = {{"y", y}};
  return graph;
}

std::vector<std::string> grouped(const Graph& graph) {
  const auto backend = test::fake_cuda_backend(std::make_shared<test::FakeDriver>());
  std::vector<Node*> steps;
  for (Node* node : graph.node_list()) {
    if (!node->is("input") && !node->is("parameter")) steps.push_back(node);
  }
  std::vector<std::string> found;
  for (const std::vector<Node*>& group : group_steps(steps, *backend)) {
    found.push_back(fmt::format("{} {}", group.size(), group.front()->kind()));
  }
  return found;
}

TEST(StepGroups, AnUpdateWaitsForOthersUntilItsResultIsRead) {
  EXPECT_THAT(grouped(two_updates(false)), ElementsAre("1 mul", "2 sgd_update"));
  EXPECT_THAT(grouped(two_updates(true)), ElementsAre("1 sgd_update", "1 mul", "1 sgd_update"));
}

}  // namespace
}  // namespace facet
