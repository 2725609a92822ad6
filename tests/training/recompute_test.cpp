#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/compile.h"
#include "runtime/weights.h"
#include "tests/ir/error_of.h"
#include "tests/passes/fake_target.h"
#include "tests/support/op_samples.h"
#include "tests/training/loss_case.h"
#include "training/step.h"
#include "zoo/zoo.h"

// Whole training steps with and without recomputation: what is computed again is bitwise what it
// was.

namespace facet::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::int64_t kBatch = 4;

Graph step_of(const std::string& model) {
  StepOptions options;
  options.batch = kBatch;
  options.optimizer.weight_decay = 5e-4;
  return make_training_step(zoo::build(model, {{"input_size", "28"}, {"num_classes", "10"}}),
                            options);
}

TensorMap inputs() {
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < kBatch; ++i) labels.push_back(i * 3 % 10);
  return {{"input", fill_input("input", {kBatch, 3, 28, 28})},
          {"labels", labels_tensor(labels)},
          {"lr", HostTensor::from_floats({1}, {0.05F})}};
}

/// What two steps give and leave, and the arena they run in.
struct TwoSteps {
  std::vector<TensorMap> outputs;
  TensorMap state;
  ProgramInfo program;
};

TwoSteps two_steps(const Graph& step, const std::string& policy,
                   Precision precision = Precision::f32) {
  CompileOptions options;
  options.precision = precision;
  options.recompute = parse_recompute(policy);
  options.guard = "loss";
  const auto executable = compile(step, random_weights(step, 3), options);
  const auto context = executable->make_context();
  TwoSteps result;
  for (int i = 0; i < 2; ++i) result.outputs.push_back(context->run(inputs()));
  result.state = context->state().snapshot();
  result.program = executable->program(1);
  return result;
}

void expect_same_bits(const TensorMap& expected, const TensorMap& found) {
  ASSERT_EQ(expected.size(), found.size());
  for (const auto& [name, tensor] : expected) EXPECT_EQ(hash(tensor), hash(found.at(name))) << name;
}

class RecomputePresets : public ::testing::TestWithParam<std::string> {};

TEST_P(RecomputePresets, CpuStepsAreBitwiseTheSame) {
  const Graph step = step_of(GetParam());
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    const TwoSteps plain = two_steps(step, "none", precision);
    for (const char* policy : {"scope:*", "budget:0.7"}) {
      SCOPED_TRACE(std::string(policy) + " " + std::string(to_string(precision)));
      const TwoSteps again = two_steps(step, policy, precision);
      EXPECT_GT(again.program.recomputed.values, 0);
      for (std::size_t i = 0; i < 2; ++i) expect_same_bits(plain.outputs[i], again.outputs[i]);
      expect_same_bits(plain.state, again.state);
      if (std::string(policy) == "scope:*") continue;
      EXPECT_EQ(again.program.plain_arena_bytes, plain.program.arena_bytes);
      EXPECT_LE(again.program.arena_bytes * 10, plain.program.arena_bytes * 7);
    }
  }
}

TEST_P(RecomputePresets, TheOracleAgrees) {
  const Graph step = step_of(GetParam());
  Graph again = step.clone();
  const FakeTarget target;
  PassContext context;
  context.target = &target;
  context.recompute = parse_recompute("scope:*.*");
  ASSERT_TRUE(recompute(again, context));
  verify(again);
  const TensorMap weights = random_weights(step, 3);
  const EvaluatedStep expected = evaluate_step(step, inputs(), weights);
  const EvaluatedStep found = evaluate_step(again, inputs(), weights);
  for (const auto& [map, other] : {std::pair(&expected.outputs, &found.outputs),
                                   std::pair(&expected.updates, &found.updates)}) {
    ASSERT_EQ(map->size(), other->size());
    for (const auto& [name, tensor] : *map) {
      EXPECT_LE(max_difference(tensor, other->at(name)), 1e-12) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Zoo, RecomputePresets,
                         ::testing::Values("lesa_small", "mla_small", "lscnn_small", "dcr_small"),
                         [](const auto& test) { return test.param; });

TEST(RecomputeStep, SmallerBudgetsTakeMoreFlopsAndLessMemory) {
  const Graph step = step_of("lesa_small");
  double flops = 0;
  std::int64_t bytes = std::numeric_limits<std::int64_t>::max();
  for (const char* policy : {"budget:0.9", "budget:0.7", "budget:0.55"}) {
    const ProgramInfo program = two_steps(step, policy).program;
    EXPECT_GE(program.recomputed.flops, flops) << policy;
    EXPECT_LT(program.arena_bytes, bytes) << policy;
    flops = program.recomputed.flops;
    bytes = program.arena_bytes;
  }
}

// What a smaller budget shows to be possible is found for a larger one, too.
TEST(RecomputeStep, EveryBudgetAboveOneThatIsMetIsMet) {
  const Graph step = step_of("lesa_small");
  const std::int64_t plain = two_steps(step, "none").program.arena_bytes;
  for (int percent = 46; percent <= 70; percent += 3) {
    const ProgramInfo program = two_steps(step, fmt::format("budget:0.{}", percent)).program;
    EXPECT_LE(program.arena_bytes, plain * percent / 100 + 1) << percent;
  }
}

TEST(RecomputeStep, ABudgetThatFitsAlreadyChangesNothing) {
  const TwoSteps again = two_steps(step_of("lscnn_small"), "budget:1GB");
  EXPECT_EQ(again.program.recomputed.values, 0);
  EXPECT_EQ(again.program.arena_bytes, again.program.plain_arena_bytes);
}

TEST(RecomputeStep, BadPoliciesAreUsageErrors) {
  const Graph step = step_of("lscnn_small");
  EXPECT_THAT(test::error_of([&] { two_steps(step, "budget:4kB"); }),
              AllOf(HasSubstr("cannot be met"), HasSubstr("MB")));
  EXPECT_THAT(test::error_of([&] { two_steps(step, "scope:stage7"); }), HasSubstr("fits no scope"));
  CompileOptions options;
  options.device = Device::reference;
  options.recompute = parse_recompute("budget:0.5");
  EXPECT_THAT(test::error_of([&] { compile(step, random_weights(step, 0), options); }),
              HasSubstr("the reference device keeps every value"));
}

}  // namespace
}  // namespace facet::testing
