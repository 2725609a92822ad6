#include "passes/loss_scale.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/dsl.h"
#include "runtime/compile.h"
#include "runtime/weights.h"
#include "tests/ir/error_of.h"
#include "tests/support/op_samples.h"
#include "tests/training/loss_case.h"
#include "training/step.h"

// Steps with a scaled loss: the same numbers, and none where a gradient overflows.

namespace facet::testing {
namespace {

constexpr std::int64_t kBatch = 4;

Graph step_of(bool scaled, const OptimizerOptions& optimizer = {.weight_decay = 0.01}) {
  Network network("net");
  const Scope root = network.root();
  const Tensor x = network.input("x", {"N", 3, 6, 6});
  const Tensor y = relu(root.batch_norm("bn", root.conv("conv", x, {.out = 8, .kernel = 3})));
  network.output("logits", root.linear("fc", flatten(y), {.out = 5}));
  StepOptions options;
  options.batch = kBatch;
  options.optimizer = optimizer;
  options.scale_loss = scaled;
  return make_training_step(network.finish(), options);
}

TensorMap inputs() {
  return {{"x", fill_input("x", {kBatch, 3, 6, 6})},
          {"labels", labels_tensor({0, 3, 1, 4})},
          {"lr", HostTensor::from_floats({1}, {1e-4F})}};
}

struct Training {
  std::shared_ptr<const Executable> executable;
  std::unique_ptr<Context> context;

  explicit Training(const Graph& step, Device device = Device::cpu) {
    CompileOptions options;
    options.device = device;
    TensorMap weights = random_weights(step, 3);
    start_averages(step, weights);
    executable = compile(step, weights, options);
    context = executable->make_context();
  }
  double applied() { return context->run(inputs()).at("applied").at(0); }
  double number(const char* key) { return context->state().tensor(key).at(0); }
  void set(const char* key, float value) {
    context->state().assign({{key, HostTensor::from_floats({1}, {value})}});
  }
};

bool same_bits(const HostTensor& a, const HostTensor& b) {
  return a.byte_count() == b.byte_count() &&
         std::equal(a.data(), a.data() + a.byte_count(), b.data());
}

class ScaledLoss : public ::testing::TestWithParam<OptimizerOptions> {};

TEST_P(ScaledLoss, AScaleThatIsAPowerOfTwoChangesNoBit) {
  Training plain(step_of(false, GetParam()));
  Training scaled(step_of(true, GetParam()));
  for (int i = 0; i < 3; ++i) {
    plain.context->run(inputs());
    EXPECT_EQ(scaled.applied(), 1);
  }
  for (const auto& [key, tensor] : plain.context->state().tensors()) {
    EXPECT_TRUE(same_bits(scaled.context->state().tensor(key), tensor)) << key;
  }
  EXPECT_EQ(scaled.number(kLossScaleKey), 65536);
  EXPECT_EQ(scaled.number(kGoodStepsKey), 3);
}

TEST_P(ScaledLoss, AnOverflowChangesNothingAndHalvesTheScale) {
  Training run(step_of(true, GetParam()));
  EXPECT_EQ(run.applied(), 1);
  // Activations, and with them gradients, of about 100; times the scale they are infinite in f32.
  run.context->state().assign({{"bn.weight", HostTensor::from_floats({8}, std::vector(8, 64.0F))}});
  const float huge = std::ldexp(1.0F, 127);
  run.set(kLossScaleKey, huge);
  const TensorMap before = run.context->state().snapshot();
  EXPECT_EQ(run.applied(), 0);
  for (const auto& [key, tensor] : run.context->state().tensors()) {
    if (key == kLossScaleKey || key == kGoodStepsKey) continue;
    EXPECT_TRUE(same_bits(before.at(key), tensor)) << key;
  }
  EXPECT_EQ(run.number(kLossScaleKey), huge / 2);
  EXPECT_EQ(run.number(kGoodStepsKey), 0);
  int skipped = 1;
  for (; run.applied() == 0; ++skipped) ASSERT_LT(skipped, 40) << "it finds a scale that fits";
  EXPECT_EQ(run.number(kLossScaleKey), std::ldexp(1.0F, 127 - skipped));
  EXPECT_EQ(run.number(kGoodStepsKey), 1);
}

INSTANTIATE_TEST_SUITE_P(
    Optimizers, ScaledLoss,
    ::testing::Values(OptimizerOptions{.weight_decay = 0.01},
                      OptimizerOptions{.weight_decay = 0.01, .clip_norm = 0.5, .ema_decay = 0.9},
                      OptimizerOptions{.kind = OptimizerOptions::Kind::adam}),
    [](const auto& each) {
      return std::string(each.param.kind == OptimizerOptions::Kind::adam ? "Adam"
                         : each.param.clip_norm > 0                      ? "SgdClippedWithAverages"
                                                                         : "Sgd");
    });

TEST(LossScale, ALossThatIsNoNumberChangesNothingEither) {
  Training run(step_of(true));
  const TensorMap before = run.context->state().snapshot();
  TensorMap given = inputs();
  given["x"] = given.at("x").clone();
  given.at("x").as_mutable<float>()[5] = NAN;
  EXPECT_EQ(run.context->run(given).at("applied").at(0), 0);
  for (const auto& [key, tensor] : run.context->state().tensors()) {
    if (key == kLossScaleKey) continue;
    EXPECT_TRUE(same_bits(before.at(key), tensor)) << key;
  }
  EXPECT_EQ(run.number(kLossScaleKey), 32768);
}

TEST(LossScale, EnoughGoodStepsDoubleTheScaleUpToAMost) {
  Training run(step_of(true));
  run.set(kGoodStepsKey, kGoodSteps - 1);
  EXPECT_EQ(run.applied(), 1);
  EXPECT_EQ(run.number(kLossScaleKey), 131072);
  EXPECT_EQ(run.number(kGoodStepsKey), 0);
  run.set(kLossScaleKey, kMostLossScale);
  run.set(kGoodStepsKey, kGoodSteps - 1);
  EXPECT_EQ(run.applied(), 1);
  EXPECT_EQ(run.number(kLossScaleKey), kMostLossScale);
}

TEST(LossScale, TheOracleAgrees) {
  Training oracle(step_of(true), Device::reference);
  Training plain(step_of(false), Device::reference);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(oracle.applied(), 1);
    plain.context->run(inputs());
  }
  for (const auto& [key, tensor] : plain.context->state().tensors()) {
    EXPECT_LE(max_difference(oracle.context->state().tensor(key), tensor), 1e-12) << key;
  }
}

TEST(LossScale, SumsOfAccumulatedGradientsAreNotScaled) {
  Network network("net");
  const Tensor x = network.input("x", {"N", 4});
  network.output("logits", network.root().linear("fc", x, {.out = 5}));
  StepOptions options;
  options.batch = kBatch;
  options.accumulate_only = true;
  const Graph graph = network.finish();
  std::vector<HostTensor> sums;
  for (const bool scaled : {false, true}) {
    options.scale_loss = scaled;
    const Graph step = make_training_step(graph.clone(), options);
    const auto context = compile(step, random_weights(step, 3))->make_context();
    context->run({{"x", fill_input("x", {kBatch, 4})}, {"labels", labels_tensor({0, 3, 1, 4})}});
    sums.push_back(context->state().tensor("accumulated.fc.weight").clone());
  }
  EXPECT_TRUE(same_bits(sums[0], sums[1]));
}

TEST(LossScale, TrainingInF16NeedsItAndAGpu) {
  CompileOptions options;
  options.precision = Precision::f16;
  const Graph step = step_of(true);
  EXPECT_EQ(test::error_of([&] { compile(step, random_weights(step, 3), options); }),
            "f16 is a precision of GPUs; take --device cuda, or f32 or bf16");
}

}  // namespace
}  // namespace facet::testing
