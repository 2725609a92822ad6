#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/dsl.h"
#include "passes/loss_scale.h"
#include "passes/pass.h"
#include "runtime/weights.h"
#include "tests/cuda/run/cuda_run.h"
#include "training/step.h"

// Training in f16: activations and their gradients overflow at 65504, which the scale gets out of.
namespace facet {
namespace {

constexpr std::int64_t kBatch = 4;

Graph step_of(bool scaled) {
  Network network("small");
  const Tensor x = network.input("x", {"N", 8, 6, 6});
  const Scope s = network.root();
  Tensor y = relu(s.batch_norm("bn", s.conv("conv", x, {.out = 16, .kernel = 3})));
  y = s.prelu("act", s.conv("conv2", y, {.out = 16}));
  network.output("logits", s.linear("fc", flatten(y), {.out = 4}));
  StepOptions options;
  options.batch = kBatch;
  options.scale_loss = scaled;
  return make_training_step(network.finish(), options);
}

TensorMap inputs() {
  HostTensor x(DType::f32, {kBatch, 8, 6, 6});
  for (std::int64_t i = 0; i < x.element_count(); ++i) {
    x.as_mutable<float>()[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));
  }
  HostTensor labels(DType::i64, {kBatch});
  for (std::int64_t i = 0; i < kBatch; ++i) labels.as_mutable<std::int64_t>()[i] = i;
  return {{"x", x}, {"labels", labels}, {"lr", HostTensor::from_floats({1}, {0.02F})}};
}

std::unique_ptr<Context> context_of(const Graph& step, Precision precision) {
  CompileOptions options;
  options.precision = precision;
  return test::compile_on_gpu(step, trial_weights(step, 1), options)->make_context();
}

TEST(F16Training, GoesTheWayOfF32) {
  const auto exact = context_of(step_of(false), Precision::f32);
  const auto scaled = context_of(step_of(true), Precision::f16);
  double loss = 0;
  double first = 0;
  for (int i = 0; i < 5; ++i) {
    const TensorMap outputs = scaled->run(inputs());
    EXPECT_EQ(outputs.at("applied").at(0), 1);
    loss = outputs.at("loss").at(0);
    if (i == 0) first = loss;
    EXPECT_NEAR(loss, exact->run(inputs()).at("loss").at(0), 5e-3) << i;
  }
  EXPECT_LT(loss, first);
}

TEST(F16Training, AnOverflowIsSkippedUntilTheScaleFits) {
  const auto context = context_of(step_of(true), Precision::f16);
  context->run(inputs());
  context->state().assign({{kLossScaleKey, HostTensor::from_floats({1}, {std::ldexp(1.0F, 30)})}});
  int skipped = 0;
  for (;; ++skipped) {
    ASSERT_LT(skipped, 30);
    const TensorMap before = context->state().snapshot();
    const TensorMap outputs = context->run(inputs());
    EXPECT_TRUE(std::isfinite(outputs.at("loss").at(0)));
    if (outputs.at("applied").at(0) == 1) break;
    const TensorMap after = context->state().snapshot();
    for (const auto& [key, tensor] : after) {
      if (key == kLossScaleKey || key == kGoodStepsKey) continue;
      EXPECT_TRUE(
          std::equal(tensor.data(), tensor.data() + tensor.byte_count(), before.at(key).data()))
          << key;
    }
    EXPECT_EQ(after.at(kLossScaleKey).at(0), before.at(kLossScaleKey).at(0) / 2);
    EXPECT_EQ(after.at(kGoodStepsKey).at(0), 0);
  }
  EXPECT_GT(skipped, 5) << "2^30 is far too much";
}

/// A gradient in f16 that was divided by the scale again would be zero where it was saved from
/// that.
TEST(F16Training, GradientsAreF32WhereTheScaleIsTakenOut) {
  Graph step = step_of(true);
  PassContext context;
  find_pass("lower-to-f16").run(step, context);
  int divided = 0;
  for (const auto& node : step.nodes()) {
    const bool divides = node->is("div") && node->operand(1).node->is("parameter");
    if (!divides) continue;
    ++divided;
    EXPECT_EQ(node->result().dtype(), DType::f32) << node->provenance().scope;
  }
  EXPECT_EQ(divided, 9) << "of every parameter";
}

}  // namespace
}  // namespace facet
