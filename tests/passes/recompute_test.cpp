#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "passes/recompute_choice.h"
#include "tests/ir/error_of.h"
#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"

namespace facet::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

PassContext with_policy(const std::string& policy) {
  static const FakeTarget target;
  PassContext context;
  context.target = &target;
  context.recompute = parse_recompute(policy);
  return context;
}

/// The loss is a sum; two steps behind it read values of 256 bytes that were made before it.
constexpr std::string_view kChain = R"(
  %0 = input() {name = "x", type = "f32[8, 8]"} : f32[8, 8]
  %1 = relu(%0) : f32[8, 8] @ "a"
  %2 = exp(%1) : f32[8, 8] @ "a.b"
  %3 = reduce_sum(%2) {axes = [0, 1]} : f32[1, 1] @ "loss"
  %4 = mul(%2, %2) : f32[8, 8] @ "a.b"
  %5 = add(%4, %1) : f32[8, 8] @ "a"
  return "loss" = %3, "g" = %5
)";

TEST(Recompute, RepeatsWhatAScopeMadeBeforeItsFirstReaderBehindTheLoss) {
  // %1 is read inside of a.b alone, but %2 leaves the scope: the loss reads it.
  expect_rewrite("recompute", kChain, R"(
  %0 = input() {name = "x", type = "f32[8, 8]"} : f32[8, 8]
  %1 = relu(%0) : f32[8, 8] @ "a"
  %2 = exp(%1) : f32[8, 8] @ "a.b"
  %3 = reduce_sum(%2) {axes = [0, 1]} : f32[1, 1] @ "loss"
  %4 = mul(%2, %2) : f32[8, 8] @ "a.b"
  %5 = relu(%0) : f32[8, 8] @ "a"
  %6 = add(%4, %5) : f32[8, 8] @ "a"
  return "loss" = %3, "g" = %6
)",
                 with_policy("scope:a"));
}

TEST(Recompute, AWholeChainIsRepeatedFromWhatIsKept) {
  const auto remarks = expect_rewrite("recompute", changed(kChain, "\"loss\"\n", "\"a\"\n"), R"(
  %0 = input() {name = "x", type = "f32[8, 8]"} : f32[8, 8]
  %1 = relu(%0) : f32[8, 8] @ "a"
  %2 = exp(%1) : f32[8, 8] @ "a.b"
  %3 = reduce_sum(%2) {axes = [0, 1]} : f32[1, 1] @ "a"
  %4 = relu(%0) : f32[8, 8] @ "a"
  %5 = exp(%4) : f32[8, 8] @ "a.b"
  %6 = mul(%5, %5) : f32[8, 8] @ "a.b"
  %7 = add(%6, %4) : f32[8, 8] @ "a"
  return "loss" = %3, "g" = %7
)",
                                      with_policy("scope:*"));
  EXPECT_THAT(to_lines(remarks),
              AllOf(HasSubstr("recompute @ a: relu again"), HasSubstr("recompute @ a.b: exp again"),
                    HasSubstr("scope:*: 2 steps run again")));
}

TEST(Recompute, StatisticsAreKeptAndMoveOnce) {
  expect_rewrite("recompute", R"(
  %0 = input() {name = "x", type = "f32[4, 2]"} : f32[4, 2]
  %1 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %2 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "mean", mutable = true, type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "var", mutable = true, type = "f32[2]"} : f32[2]
  %5 = exp(%0) : f32[4, 2] @ "n"
  %6:5 = batch_norm_train(%5, %1, %2, %3, %4, %0) {tail = ["add", "relu"]} : (f32[4, 2], f32[2], f32[2], f32[2], f32[2]) @ "n"
  %7 = reduce_sum(%6.0) {axes = [0, 1]} : f32[1, 1] @ "n"
  %8 = mul(%6.0, %6.0) : f32[4, 2]
  update "mean" = %6.3
  update "var" = %6.4
  return "loss" = %7, "g" = %8
)",
                 R"(
  %0 = input() {name = "x", type = "f32[4, 2]"} : f32[4, 2]
  %1 = parameter() {key = "gamma", type = "f32[2]"} : f32[2]
  %2 = parameter() {key = "beta", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "mean", mutable = true, type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "var", mutable = true, type = "f32[2]"} : f32[2]
  %5 = exp(%0) : f32[4, 2] @ "n"
  %6:5 = batch_norm_train(%5, %1, %2, %3, %4, %0) {tail = ["add", "relu"]} : (f32[4, 2], f32[2], f32[2], f32[2], f32[2]) @ "n"
  %7 = reduce_sum(%6.0) {axes = [0, 1]} : f32[1, 1] @ "n"
  %8 = exp(%0) : f32[4, 2] @ "n"
  %9 = batch_norm_apply(%8, %1, %2, %6.1, %6.2, %0) {tail = ["add", "relu"]} : f32[4, 2] @ "n"
  %10 = mul(%9, %9) : f32[4, 2]
  update "mean" = %6.3
  update "var" = %6.4
  return "loss" = %7, "g" = %10
)",
                 with_policy("scope:n"));
}

TEST(Recompute, WhatOnlyTheBackwardPassReadsIsMoved) {
  expect_rewrite("recompute", R"(
  %0 = input() {name = "x", type = "f32[8, 8]"} : f32[8, 8]
  %1 = relu(%0) : f32[8, 8] @ "a"
  %2 = reduce_sum(%0) {axes = [0, 1]} : f32[1, 1] @ "loss"
  %3 = exp(%1) : f32[8, 8]
  return "loss" = %2, "g" = %3
)",
                 R"(
  %0 = input() {name = "x", type = "f32[8, 8]"} : f32[8, 8]
  %1 = reduce_sum(%0) {axes = [0, 1]} : f32[1, 1] @ "loss"
  %2 = relu(%0) : f32[8, 8] @ "a"
  %3 = exp(%2) : f32[8, 8]
  return "loss" = %1, "g" = %3
)",
                 with_policy("scope:a"));
}

TEST(Recompute, DropoutCountsSoItIsRepeated) {
  const Outcome outcome = run_pass("recompute", R"(
  %0 = input() {name = "x", type = "f32[8, 8]"} : f32[8, 8]
  %1 = input() {name = "step", type = "f32[1]"} : f32[1]
  %2 = dropout_train(%0, %1) {rate = 0.5, seed = 3} : f32[8, 8] @ "a"
  %3 = reduce_sum(%2) {axes = [0, 1]} : f32[1, 1] @ "a"
  %4 = exp(%2) : f32[8, 8]
  return "loss" = %3, "g" = %4
)",
                                   with_policy("scope:a"));
  EXPECT_TRUE(outcome.changed);
  EXPECT_THAT(outcome.body, HasSubstr("%4 = dropout_train(%0, %1) {rate = 0.5, seed = 3}"));
}

TEST(Recompute, RefusesUpdatesOutputsAndWhatReadsStateThatMoved) {
  // %3 overwrites its state, %4 reads the new bytes, which %7 overwrites again; %5 is an output.
  expect_refusal("recompute", R"(
  %0 = input() {name = "x", type = "f32[4]"} : f32[4]
  %1 = parameter() {key = "w.a", mutable = true, type = "f32[4]"} : f32[4]
  %2 = ema_update(%1, %0) {decay = 0.5} : f32[4] @ "a"
  %3 = exp(%2) : f32[4] @ "a"
  %4 = relu(%0) : f32[4] @ "a"
  %5 = reduce_sum(%3) {axes = [0]} : f32[1] @ "a"
  %6 = mul(%3, %4) : f32[4]
  update "w.a" = %2
  return "loss" = %5, "g" = %6, "kept" = %4
)",
                 with_policy("scope:a"));
}

TEST(Recompute, WithoutAPolicyNothingChanges) {
  expect_refusal("recompute", kChain, with_policy("none"));
  expect_refusal("recompute", kChain, PassContext());  // nor without a target
}

TEST(Recompute, UnknownScopesGetTheNearestOnes) {
  Graph graph = parse_body(kChain);
  PassContext context = with_policy("scope:loos");
  EXPECT_THAT(test::error_of([&] { recompute(graph, context); }),
              AllOf(HasSubstr("'loos'"), HasSubstr("did you mean 'loss'?")));
  context = with_policy("scope:a.b.c");
  EXPECT_THAT(test::error_of([&] { recompute(graph, context); }), HasSubstr("fits no scope"));
}

/// A chain of exp(relu) pairs, with readers of everything behind the loss, from the last to the
/// first.
Graph deep_chain(int depth) {
  Graph graph("deep");
  Value x = graph.create("input", {}, {{"name", "x"}, {"type", "f32[64, 64]"}})->result();
  std::vector<Value> values;
  for (int i = 0; i < depth; ++i) {
    x = graph.create(i % 2 == 0 ? "tanh" : "exp", {x}, {}, {"l" + std::to_string(i), {}, {}})
            ->result();
    values.push_back(x);
  }
  const Value loss = graph.create("reduce_sum", {x}, {{"axes", Ints{0, 1}}})->result();
  Value g = graph.create("neg", {x})->result();
  for (auto value = values.rbegin(); value != values.rend(); ++value) {
    g = graph.create("mul", {g, *value})->result();
  }
  graph.outputs() = {{"loss", loss}, {"g", g}};
  return graph;
}

std::int64_t peak_of(const Graph& graph) {
  const FakeTarget target;
  RecomputeModel model(graph, target, {});
  return model.estimate(RepeatedSteps(model.steps().size(), 0)).peak;
}

TEST(RecomputeBudget, TheSmallerTheBudgetTheMoreIsRepeatedAndResultsStay) {
  const Graph graph = deep_chain(24);
  const std::int64_t plain = peak_of(graph);
  const TensorMap expected = evaluate_filled(graph);
  int before = 0;
  for (const char* policy : {"budget:0.9", "budget:0.7", "budget:0.5", "budget:0.4"}) {
    Graph changed = graph.clone();
    PassContext context = with_policy(policy);
    EXPECT_TRUE(recompute(changed, context)) << policy;
    verify(changed);
    EXPECT_LE(static_cast<double>(peak_of(changed)),
              context.recompute.fraction * static_cast<double>(plain))
        << policy;
    EXPECT_EQ(context.recomputed.kept_less, plain - peak_of(changed)) << policy;
    EXPECT_GT(context.recomputed.values, before) << policy;
    before = context.recomputed.values;
    EXPECT_EQ(worst_difference(expected, evaluate_filled(changed)), 0) << policy;
  }
}

TEST(RecomputeBudget, TakesCheapStepsAndLeavesConvolutions) {
  Graph graph("conv");
  const Value x =
      graph.create("input", {}, {{"name", "x"}, {"type", "f32[2, 64, 16, 16]"}})->result();
  graph.parameters().push_back({"w", {DType::f32, {64, 64, 3, 3}, {}}, {}, {}, true, {}});
  const Value w = graph.read_parameter("w")->result();
  const Value y = graph.create("conv", {x, w}, {{"pads", Ints{1, 1, 1, 1}}})->result();
  const Value z = graph.create("relu", {y})->result();
  const Value loss =
      graph
          .create("reduce_sum", {graph.create("exp", {z})->result()}, {{"axes", Ints{0, 1, 2, 3}}})
          ->result();
  Value g = graph.create("neg", {graph.create("mul", {z, z})->result()})->result();
  g = graph.create("mul", {g, y})->result();
  graph.outputs() = {{"loss", loss}, {"g", g}};
  PassContext context = with_policy("budget:0.8");
  Graph changed = graph.clone();
  recompute(changed, context);
  int convolutions = 0, activations = 0;
  for (const auto& node : changed.nodes()) {
    convolutions += node->is("conv");
    activations += node->is("relu");
  }
  EXPECT_EQ(convolutions, 1);
  EXPECT_EQ(activations, 2);
}

TEST(RecomputeBudget, OneThatIsTooSmallSaysWhatIsInReach) {
  Graph graph = deep_chain(8);
  PassContext context = with_policy("budget:20kB");  // one value is 16 kB
  EXPECT_THAT(
      test::error_of([&] { recompute(graph, context); }),
      AllOf(HasSubstr("a recompute budget of 0.0 MB cannot be met"), HasSubstr("at the least")));
}

TEST(RecomputePolicy, ReadsBackFromItsText) {
  for (const char* text :
       {"none", "scope:layer1", "scope:layer*.*,head", "budget:0.5", "budget:800000000"}) {
    EXPECT_EQ(to_string(parse_recompute(text)), text);
  }
  EXPECT_EQ(parse_recompute("budget:1.5GiB").bytes, 1610612736);
  EXPECT_EQ(parse_recompute("budget:800MB").bytes, 800000000);
}

TEST(RecomputePolicy, RefusesOthersWithWhatThereIs) {
  for (const char* text :
       {"", "all", "scope:", "scope:a,,b", "scope:.a", "budget", "budget:", "budget:0", "budget:-1",
        "budget:12", "budget:5 MB", "budget:nan", "budget:1e30"}) {
    EXPECT_THAT(test::error_of([&] { parse_recompute(text); }),
                HasSubstr("it must be none, scope:PATTERN"))
        << text;
  }
  EXPECT_THAT(
      test::error_of([] { parse_recompute("bugdet:0.5", "--recompute"); }),
      AllOf(HasSubstr("--recompute is \"bugdet:0.5\""), HasSubstr("did you mean 'budget'?")));
}

}  // namespace
}  // namespace facet::testing
