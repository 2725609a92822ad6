#include "passes/append_optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ir/error_of.h"
#include "tests/passes/pass_case.h"

namespace facet::testing {
namespace {

using Kind = OptimizerOptions::Kind;

// y = x W^T + b with the gradients of sum(y * dy). W is read by %7, after its gradient.
constexpr std::string_view kNetwork = R"(
  %0 = input() {name = "x", type = "f32[2, 3]"} : f32[2, 3]
  %1 = input() {name = "dy", type = "f32[2, 4]"} : f32[2, 4]
  %2 = parameter() {key = "fc.weight", type = "f32[4, 3]"} : f32[4, 3]
  %3 = parameter() {key = "fc.bias", type = "f32[4]"} : f32[4]
  %4 = linear(%0, %2, %3) {epilogue = ["bias"]} : f32[2, 4]
  %5 = matmul(%1, %0) {transpose_a = true} : f32[4, 3]
  %6 = reduce_sum(%1) {axes = [0], keepdims = false} : f32[4]
  %7 = matmul(%1, %2) : f32[2, 3]
  %8 = relu(%7) : f32[2, 3]
  return "y" = %4, "dx" = %8
)";

/// The network and its gradients.
struct Case {
  Graph graph = parse_body(kNetwork);
  std::map<std::string, Value> gradients;

  Case() {
    const std::vector<Node*> nodes = graph.node_list();
    gradients = {{"fc.weight", nodes.at(5)->result()}, {"fc.bias", nodes.at(6)->result()}};
  }
  AppendedOptimizer append(const OptimizerOptions& options) {
    const AppendedOptimizer result = append_optimizer(graph, gradients, options);
    verify(graph);
    return result;
  }
  Attributes attributes_of(std::string_view op, const std::string& key) const {
    for (const auto& node : graph.nodes()) {
      if (node->is(op) && node->provenance().scope == key) return node->attributes();
    }
    ADD_FAILURE() << "no " << op << " of " << key;
    return {};
  }
};

/// One step from `state` (what is missing is zero); the new state.
TensorMap step(const Graph& graph, TensorMap state, double lr, const HostTensor& dy) {
  for (const Parameter& parameter : graph.parameters()) {
    state.try_emplace(parameter.key, DType::f64, static_extents(parameter.type.shape));
  }
  const TensorMap inputs{
      {"x", fill_input("x", {2, 3})}, {"dy", dy}, {"lr", HostTensor::from_doubles({1}, {lr})}};
  for (auto& [key, value] : evaluate_step(graph, inputs, state).updates) state[key] = value;
  return state;
}

const HostTensor kDy = fill_input("dy", {2, 4});

TensorMap weights() {
  return {{"fc.weight", uniform("fc.weight", {4, 3}, -1, 1).cast(DType::f64)},
          {"fc.bias", uniform("fc.bias", {4}, -1, 1).cast(DType::f64)}};
}

TEST(AppendOptimizer, UpdatesStandBehindTheirGradientAndTheReadersOfTheOldValue) {
  Case one;
  one.append({.kind = Kind::sgd, .momentum = 0.9, .weight_decay = 0.01});
  EXPECT_EQ(body_of(one.graph), R"(
  %0 = parameter() {key = "optimizer.fc.weight.velocity", mutable = true, type = "f32[4, 3]"} : f32[4, 3] @ "optimizer.fc.weight.velocity"
  %1 = parameter() {key = "optimizer.fc.bias.velocity", mutable = true, type = "f32[4]"} : f32[4] @ "optimizer.fc.bias.velocity"
  %2 = input() {name = "lr", type = "f32[1]"} : f32[1] @ "optimizer"
  %3 = input() {name = "x", type = "f32[2, 3]"} : f32[2, 3]
  %4 = input() {name = "dy", type = "f32[2, 4]"} : f32[2, 4]
  %5 = parameter() {key = "fc.weight", mutable = true, type = "f32[4, 3]"} : f32[4, 3]
  %6 = parameter() {key = "fc.bias", mutable = true, type = "f32[4]"} : f32[4]
  %7 = linear(%3, %5, %6) {epilogue = ["bias"]} : f32[2, 4]
  %8 = matmul(%4, %3) {transpose_a = true} : f32[4, 3]
  %9 = reduce_sum(%4) {axes = [0], keepdims = false} : f32[4]
  %10:2 = sgd_update(%6, %1, %9, %2) {momentum = 0.9, weight_decay = 0.01} : (f32[4], f32[4]) @ "fc.bias"
  %11 = matmul(%4, %5) : f32[2, 3]
  %12:2 = sgd_update(%5, %0, %8, %2) {momentum = 0.9, weight_decay = 0.01} : (f32[4, 3], f32[4, 3]) @ "fc.weight"
  %13 = relu(%11) : f32[2, 3]
  update "fc.bias" = %10.0
  update "optimizer.fc.bias.velocity" = %10.1
  update "fc.weight" = %12.0
  update "optimizer.fc.weight.velocity" = %12.1
  return "y" = %7, "dx" = %13
)");
  const Parameter* velocity = one.graph.find_parameter("optimizer.fc.bias.velocity");
  ASSERT_NE(velocity, nullptr);
  EXPECT_FALSE(velocity->trainable);
  EXPECT_EQ(velocity->role, ParameterRole::other);
  PassContext context;
  EXPECT_FALSE(sink_updates(one.graph, context)) << "the early places are legal";
}

TEST(AppendOptimizer, FrozenAndMissingParametersStay) {
  Case one;
  one.graph.parameters()[0].trainable = false;
  one.gradients["fc.bias"] = Value{};
  one.append({});
  EXPECT_TRUE(one.graph.updates().empty());
}

TEST(AppendOptimizer, WeightDecayGroups) {
  Case all, some;
  all.append({.weight_decay = 0.1});
  some.append({.kind = Kind::lars, .weight_decay = 0.1, .decay_norm_and_bias = false});
  EXPECT_EQ(all.attributes_of("sgd_update", "fc.bias").number("weight_decay"), 0.1);
  EXPECT_EQ(some.attributes_of("lars_update", "fc.weight").number("weight_decay"), 0.1);
  EXPECT_EQ(some.attributes_of("sgd_update", "fc.bias").number("weight_decay"), 0);
}

TEST(AppendOptimizer, AdamCountsItsSteps) {
  Case one;
  one.append({.kind = Kind::adamw, .weight_decay = 0.1});
  EXPECT_TRUE(one.attributes_of("adam_update", "fc.bias").boolean("decoupled"));
  TensorMap state = step(one.graph, weights(), 0.5, kDy);
  EXPECT_EQ(state.at("optimizer.step").at(0), 1);
  // The first step: p (1 - lr wd) - lr sign(gradient), up to epsilon.
  const double gradient = kDy.at(0) + kDy.at(4);
  const double expected = weights().at("fc.bias").at(0) * 0.95 - std::copysign(0.5, gradient);
  EXPECT_NEAR(state.at("fc.bias").at(0), expected, 1e-7);
  EXPECT_EQ(step(one.graph, state, 0.5, kDy).at("optimizer.step").at(0), 2);
}

/// Length of the gradients of kNetwork: dW = dy^T x, db = column sums of dy.
double gradient_norm(bool bias) {
  const HostTensor x = fill_input("x", {2, 3});
  double sum = 0;
  for (std::int64_t o = 0; o < 4; ++o) {
    for (std::int64_t i = 0; i < 3; ++i) {
      sum += std::pow(kDy.at(o) * x.at(i) + kDy.at(4 + o) * x.at(3 + i), 2);
    }
    if (bias) sum += std::pow(kDy.at(o) + kDy.at(4 + o), 2);
  }
  return std::sqrt(sum);
}

TEST(AppendOptimizer, ClippingShortensAllGradientsByOneFactor) {
  Case plain, clipped, wide;
  plain.append({.momentum = 0});
  const Value norm = clipped.append({.momentum = 0, .clip_norm = 0.25}).gradient_norm;
  ASSERT_TRUE(norm);
  clipped.graph.outputs().push_back({"norm", norm});
  wide.append({.momentum = 0, .clip_norm = 1e3});
  const double length = gradient_norm(true), factor = 0.25 / (length + 1e-6);
  ASSERT_GT(length, 0.5);
  const TensorMap start = weights();
  const TensorMap free = step(plain.graph, start, 1, kDy),
                  shorter = step(clipped.graph, start, 1, kDy);
  for (const auto& [key, before] : start) {
    for (std::int64_t i = 0; i < before.element_count(); ++i) {
      const double full = free.at(key).at(i) - before.at(i);
      EXPECT_NEAR(shorter.at(key).at(i) - before.at(i), factor * full, 1e-14) << key << i;
    }
  }
  EXPECT_EQ(max_difference(step(wide.graph, start, 1, kDy).at("fc.weight"), free.at("fc.weight")),
            0);
  const TensorMap inputs{
      {"x", fill_input("x", {2, 3})}, {"dy", kDy}, {"lr", HostTensor::from_doubles({1}, {1})}};
  TensorMap state = shorter;
  EXPECT_NEAR(evaluate(clipped.graph, inputs, state).at("norm").at(0), length, 1e-14);
}

TEST(AppendOptimizer, ExemptParametersAreNeitherCountedNorClipped) {
  Case plain, clipped;
  plain.append({.momentum = 0});
  clipped.append({.momentum = 0, .clip_norm = 0.25, .clip_exempt = {"fc.b"}});
  const TensorMap start = weights();
  const TensorMap free = step(plain.graph, start, 1, kDy),
                  shorter = step(clipped.graph, start, 1, kDy);
  EXPECT_EQ(max_difference(free.at("fc.bias"), shorter.at("fc.bias")), 0);
  const double factor = 0.25 / (gradient_norm(false) + 1e-6);
  const double before = start.at("fc.weight").at(0);
  EXPECT_NEAR(shorter.at("fc.weight").at(0) - before,
              factor * (free.at("fc.weight").at(0) - before), 1e-14);
}

TEST(AppendOptimizer, TheNormAloneCanBeAskedFor) {
  Case plain, measured;
  EXPECT_FALSE(plain.append({}).gradient_norm);
  EXPECT_TRUE(measured.append({.measure_norm = true}).gradient_norm);
}

TEST(AppendOptimizer, AccumulatedStepsEqualOneStepOnTheSum) {
  // dW is linear in dy: the step on dy1 + dy2 + dy3 must be what three runs make.
  const HostTensor parts[] = {fill_input("dy1", {2, 4}), fill_input("dy2", {2, 4}), kDy};
  HostTensor sum(DType::f64, {2, 4});
  for (std::int64_t i = 0; i < 8; ++i) {
    for (const HostTensor& part : parts) sum.as_mutable<double>()[i] += part.at(i);
  }
  const OptimizerOptions options{.momentum = 0.5, .weight_decay = 0.1};
  Case whole, add, apply;
  whole.append(options);
  append_accumulation(add.graph, add.gradients);
  verify(add.graph);
  OptimizerOptions third = options;
  third.accumulate = 3;
  apply.append(third);
  const TensorMap expected = step(whole.graph, weights(), 0.5, sum);
  TensorMap state = step(add.graph, weights(), 0.5, parts[0]);
  state = step(add.graph, state, 0.5, parts[1]);
  EXPECT_EQ(max_difference(state.at("fc.bias"), weights().at("fc.bias")), 0);
  state = step(apply.graph, state, 0.5, parts[2]);
  for (const std::string key : {"fc.weight", "fc.bias", "optimizer.fc.weight.velocity"}) {
    EXPECT_LE(max_difference(state.at(key), expected.at(key)), 1e-15) << key;
  }
  for (const double value : state.at("accumulated.fc.weight").to_doubles()) EXPECT_EQ(value, 0);
}

TEST(AppendOptimizer, AccumulatedGradientsCanBeAveraged) {
  Case whole, apply;
  whole.append({.momentum = 0});
  apply.append({.momentum = 0, .accumulate = 4, .average_accumulated = true});
  const TensorMap start = weights();
  const double full =
      step(whole.graph, start, 1, kDy).at("fc.bias").at(1) - start.at("fc.bias").at(1);
  const double part =
      step(apply.graph, start, 1, kDy).at("fc.bias").at(1) - start.at("fc.bias").at(1);
  EXPECT_NEAR(part, full / 4, 1e-15);
}

TEST(AppendOptimizer, TheAverageFollowsTheNewParameter) {
  Case one;
  one.append({.ema_decay = 0.75});
  TensorMap state = weights();
  state["ema.fc.bias"] = HostTensor::from_doubles({4}, {1, 2, 3, 4});
  const TensorMap after = step(one.graph, state, 0.5, kDy);
  EXPECT_NEAR(after.at("ema.fc.bias").at(2), 0.75 * 3 + 0.25 * after.at("fc.bias").at(2), 1e-15);
  EXPECT_NE(after.at("fc.bias").at(2), state.at("fc.bias").at(2));
}

TEST(AppendOptimizer, MistakesAreNamed) {
  Case one;
  EXPECT_EQ(test::error_of([&] { one.append({.momentum = 1}); }),
            "the optimizer's momentum is 1; it must be at least 0 and below 1");
  EXPECT_EQ(test::error_of([&] {
              append_optimizer(one.graph, {{"fc.wight", Value{}}}, {});
            }),
            "graph 'g' has no parameter 'fc.wight' to step");
  one.append({});
  EXPECT_EQ(test::error_of([&] { append_optimizer(one.graph, one.gradients, {}); }),
            "graph 'g' has state 'optimizer.fc.bias.velocity' already: an optimizer was appended "
            "before");
}

}  // namespace
}  // namespace facet::testing
