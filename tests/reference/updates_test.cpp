#include <gtest/gtest.h>

#include <cmath>

#include "tests/reference/evaluate_op.h"

// Optimizer steps with numbers worked out by hand. Operands are f32, hence exact in binary.

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;

HostTensor state(const Numbers& values) {
  return tensor({static_cast<std::int64_t>(values.size())}, values).cast(DType::f32);
}

/// All results of one update op.
std::vector<Numbers> evaluate_update(std::string_view op, const std::vector<Numbers>& operands,
                                     const Attributes& attributes = {}) {
  Graph graph;
  TensorMap inputs;
  std::vector<Value> values;
  for (const Numbers& operand : operands) {
    const std::string name = fmt::format("x{}", inputs.size());
    inputs[name] = state(operand);
    const Type type{DType::f32, Shape{static_cast<std::int64_t>(operand.size())}, {}};
    values.push_back(
        graph.create("input", {}, {{"name", name}, {"type", to_string(type)}})->result());
  }
  Node* node = graph.create(op, values, attributes);
  for (int i = 0; i < node->result_count(); ++i) {
    graph.outputs().push_back({fmt::format("y{}", i), node->result(i)});
  }
  std::vector<Numbers> results;
  for (const auto& [name, y] : evaluate(graph, inputs, {})) results.push_back(y.to_doubles());
  for (std::size_t i = 0; i < operands.size(); ++i) {
    EXPECT_EQ(inputs.at(fmt::format("x{}", i)).to_doubles(), operands[i]) << "an operand changed";
  }
  return results;
}

void expect_near(const Numbers& actual, const Numbers& expected, double tolerance = 1e-15) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], tolerance);
}

TEST(SgdUpdate, MomentumAndWeightDecay) {
  // d = grad + 0.25 p = (1.5, -1); v' = 0.5 v + d = (2, -1.5); p' = p - 0.5 v'.
  const auto y = evaluate_update("sgd_update", {{2, 4}, {1, -1}, {1, -2}, {0.5}},
                                 {{"momentum", 0.5}, {"weight_decay", 0.25}});
  expect_near(y[0], {1, 4.75});
  expect_near(y[1], {2, -1.5});
}

TEST(SgdUpdate, Nesterov) {
  // As above, but p' = p - 0.5 (d + 0.5 v').
  const auto y =
      evaluate_update("sgd_update", {{2, 4}, {1, -1}, {1, -2}, {0.5}},
                      {{"momentum", 0.5}, {"weight_decay", 0.25}, {"nesterov", true}});
  expect_near(y[0], {2 - 0.5 * 2.5, 4 + 0.5 * 1.75});
  expect_near(y[1], {2, -1.5});
}

TEST(SgdUpdate, WithoutMomentumTheVelocityIsTheGradient) {
  const auto y = evaluate_update("sgd_update", {{2}, {100}, {3}, {0.5}});
  expect_near(y[0], {0.5});
  expect_near(y[1], {3});
}

TEST(AdamUpdate, TheFirstStepMovesByLrWhateverTheGradient) {
  const auto y = evaluate_update("adam_update", {{1, 1}, {0, 0}, {0, 0}, {4, -0.25}, {0.5}, {1}},
                                 {{"epsilon", 0.0}});
  expect_near(y[0], {0.5, 1.5});
  expect_near(y[1], {0.4, -0.025});
  expect_near(y[2], {0.016, 0.0000625});
}

TEST(AdamUpdate, BiasCorrectionOfTheSecondStep) {
  // beta 0.5, 0.75; m' = 0.5 * 2 + 0.5 * 4 = 3, v' = 0.75 * 4 + 0.25 * 16 = 7; 1 - 0.25 and
  // 1 - 0.5625 at step 2: m^ = 4, v^ = 16, p' = 1 - 0.5 * 4 / (4 + 4).
  const auto y = evaluate_update("adam_update", {{1}, {2}, {4}, {4}, {0.5}, {2}},
                                 {{"beta1", 0.5}, {"beta2", 0.75}, {"epsilon", 4.0}});
  expect_near(y[0], {0.75});
  expect_near(y[1], {3});
  expect_near(y[2], {7});
}

TEST(AdamUpdate, WeightDecayJoinsTheGradientOrShrinksTheParameter) {
  const std::vector<Numbers> operands{{2}, {0}, {0}, {0}, {0.5}, {1}};
  Attributes attributes{{"weight_decay", 0.5}, {"epsilon", 0.0}};
  // d = 1: a step of lr.
  const auto joined = evaluate_update("adam_update", operands, attributes);
  expect_near(joined[0], {1.5});
  expect_near(joined[1], {0.1});
  attributes.set("decoupled", true);
  attributes.set("epsilon", 1.0);
  // p * (1 - 0.5 * 0.5), no step; the moments stay 0.
  const auto decoupled = evaluate_update("adam_update", operands, attributes);
  expect_near(decoupled[0], {1.5});
  expect_near(decoupled[1], {0});
}

TEST(LarsUpdate, ScalesByTheNorms) {
  // |p| = 5, |g| = 2; local = 0.5 * 5 / (2 + 0.1 * 5) = 1; v' = 0.5 v + g + 0.1 p.
  const auto y = evaluate_update("lars_update", {{3, 4}, {1, 0}, {2, 0}, {0.5}},
                                 {{"momentum", 0.5},
                                  {"weight_decay", 0.1},
                                  {"trust_coefficient", 0.5},
                                  {"epsilon", 0.0}});
  expect_near(y[1], {2.8, 0.4});
  expect_near(y[0], {3 - 1.4, 4 - 0.2});
}

TEST(LarsUpdate, ANormOfZeroMeansPlainMomentum) {
  const Attributes attributes{{"trust_coefficient", 0.5}};
  expect_near(evaluate_update("lars_update", {{0, 0}, {0, 0}, {2, -4}, {0.5}}, attributes)[0],
              {-1, 2});
  expect_near(evaluate_update("lars_update", {{3, 4}, {1, 0}, {0, 0}, {0.5}},
                              {{"trust_coefficient", 0.5}, {"weight_decay", 1.0}})[1],
              {3, 4});
}

TEST(EmaUpdate, MovesTowardsTheParameter) {
  expect_near(evaluate_update("ema_update", {{1, 8}, {5, 0}}, {{"decay", 0.75}})[0], {2, 6});
}

}  // namespace
}  // namespace facet::testing
