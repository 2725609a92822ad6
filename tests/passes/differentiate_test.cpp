#include "passes/differentiate.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/reference/reference.h"
#include "ir/dsl.h"
#include "ir/error.h"
#include "ir/op.h"
#include "passes/pass.h"
#include "passes/training_mode.h"
#include "passes/vector_jacobian.h"
#include "tests/ir/error_of.h"
#include "tests/ir/networks.h"
#include "tests/passes/pass_case.h"

// What differentiation does with the graph around the rules. gradient_check_test.cpp checks the
// rules.
namespace facet {
namespace {

using test::error_of;
using test::input;
using ::testing::HasSubstr;
using Numbers = std::vector<double>;

HostTensor tensor(std::vector<std::int64_t> shape, const Numbers& values) {
  return HostTensor::from_doubles(std::move(shape), values);
}

Value node(Graph& graph, std::string_view op, std::vector<Value> operands,
           Attributes attributes = {}) {
  return graph.create(op, std::move(operands), std::move(attributes))->result();
}

/// A graph with the input "dy" of the type of `y`, its seed. Gradients become the outputs "d0",
/// "d1", ...; what they do not need is removed.
std::vector<Value> gradients(Graph& graph, Value y, const std::vector<Value>& wrt) {
  const Value dy = input(graph, "dy", to_string(y.type()));
  const Seed seed{y, dy};
  const std::vector<Value> found = differentiate(graph, std::span(&seed, 1), wrt);
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i]) graph.outputs().push_back({fmt::format("d{}", i), found[i]});
  }
  PassContext context;
  eliminate_dead_code(graph, context);
  verify(graph);
  return found;
}

int count(const Graph& graph, std::string_view op) {
  int nodes = 0;
  for (const auto& entry : graph.nodes()) nodes += entry->is(op) ? 1 : 0;
  return nodes;
}

TEST(Differentiate, SecondUseAdds) {
  Graph graph;
  const Value x = input(graph, "x", "f32[2]");
  const Value y = node(graph, "mul", {x, node(graph, "add", {x, x})});  // 2 x^2
  gradients(graph, y, {x});
  const TensorMap found =
      evaluate(graph, {{"x", tensor({2}, {3, -5})}, {"dy", tensor({2}, {1, 10})}}, {});
  EXPECT_EQ(found.at("d0").to_doubles(), (Numbers{12, -200}));
}

TEST(Differentiate, ASharedParameterSumsItsUses) {
  Network net("siamese");
  const Tensor a = net.input("a", {1, 2}), b = net.input("b", {1, 2});
  const Scope shared = net.root().shared();
  const Tensor first = shared.linear("fc", a, {.out = 1});
  net.output("y", first * shared.linear("fc", b, {.out = 1}));
  Graph graph = net.finish();
  const Value weight = graph.read_parameter("fc.weight")->result();
  const Value bias = graph.read_parameter("fc.bias")->result();
  gradients(graph, graph.outputs()[0].value, {weight, bias});
  const TensorMap parameters = {{"fc.weight", tensor({1, 2}, {2, 3})},
                                {"fc.bias", tensor({1}, {1})}};
  // fc(a) = 2 + 6 + 1 = 9, fc(b) = -2 + 3 + 1 = 2: dw = 2 a + 9 b, db = 2 + 9.
  const TensorMap found = evaluate(
      graph,
      {{"a", tensor({1, 2}, {1, 2})}, {"b", tensor({1, 2}, {-1, 1})}, {"dy", tensor({1, 1}, {1})}},
      parameters);
  EXPECT_EQ(found.at("d0").to_doubles(), (Numbers{-7, 13}));
  EXPECT_EQ(found.at("d1").to_doubles(), (Numbers{11}));
}

TEST(Differentiate, AValueWithoutAPathHasNoGradient) {
  Graph graph;
  const Value x = input(graph, "x", "f32[2]");
  const Value other = input(graph, "other", "f32[2]");
  node(graph, "exp", {other});
  const std::vector<Value> found = gradients(graph, node(graph, "neg", {x}), {x, other});
  EXPECT_TRUE(found[0]);
  EXPECT_FALSE(found[1]);
}

TEST(Differentiate, BranchesThatLeadNowhereCostNoNodes) {
  Graph graph;
  const Value x = input(graph, "x", "f32[1, 4, 5, 5]");
  const Value constant_branch = input(graph, "other", "f32[1, 4, 5, 5]");
  const Value weight = input(graph, "weight", "f32[4, 4, 1, 1]");
  const Value dead = node(graph, "exp", {node(graph, "conv", {x, weight})});
  (void)dead;  // reads x, but the seed does not depend on it
  const Value y = node(graph, "mul", {x, node(graph, "sigmoid", {constant_branch})});
  gradients(graph, y, {x});
  for (const char* op : {"exp", "conv", "conv_bwd_data", "conv_bwd_weights", "sub"}) {
    EXPECT_EQ(count(graph, op), 0) << op;
  }
  EXPECT_EQ(count(graph, "mul"), 1);  // dx = dy * sigmoid; y itself is read by nobody
}

TEST(Differentiate, StopGradientStops) {
  Graph graph;
  const Value x = input(graph, "x", "f32[2]");
  const Value y =
      node(graph, "mul", {x, node(graph, "stop_gradient", {node(graph, "square", {x})})});
  gradients(graph, y, {x});
  const TensorMap found =
      evaluate(graph, {{"x", tensor({2}, {3, -5})}, {"dy", tensor({2}, {1, 10})}}, {});
  EXPECT_EQ(found.at("d0").to_doubles(), (Numbers{9, 250}));  // x^2 is a factor like a constant
}

TEST(Differentiate, StraightThroughHandsTheCotangentToItsSecondOperand) {
  Graph graph;
  const Value x = input(graph, "x", "f32[2]");
  const Value rounded = node(graph, "greater", {x, input(graph, "t", "f32[1]")});
  const Value y = node(graph, "square", {node(graph, "straight_through", {rounded, x})});
  graph.outputs().push_back({"y", y});
  gradients(graph, y, {x});
  const TensorMap found = evaluate(
      graph, {{"x", tensor({2}, {3, -5})}, {"t", tensor({1}, {0})}, {"dy", tensor({2}, {1, 10})}},
      {});
  EXPECT_EQ(found.at("y").to_doubles(), (Numbers{1, 0}));
  EXPECT_EQ(found.at("d0").to_doubles(), (Numbers{2, 0}));  // 2 * value * dy
}

TEST(Differentiate, DropoutDrawsTheSameMaskBackwards) {
  Graph graph;
  const Value x = input(graph, "x", "f32[64]");
  const Value y = node(graph, "dropout_train", {x, input(graph, "step", "f32[1]")},
                       {{"rate", 0.5}, {"seed", std::int64_t{3}}});
  graph.outputs().push_back({"y", y});
  gradients(graph, y, {x});
  const HostTensor ones = tensor({64}, Numbers(64, 1));
  const TensorMap found =
      evaluate(graph, {{"x", ones}, {"dy", ones}, {"step", tensor({1}, {5})}}, {});
  EXPECT_EQ(found.at("d0").to_doubles(), found.at("y").to_doubles());
  EXPECT_THAT(found.at("y").to_doubles(), ::testing::Contains(2));
  EXPECT_THAT(found.at("y").to_doubles(), ::testing::Contains(0));
}

TEST(Differentiate, EqualOnesHalveTheGradientOfAMaximum) {
  Graph graph;
  const Value a = input(graph, "a", "f32[3]"), b = input(graph, "b", "f32[3]");
  const Value y =
      node(graph, "add", {node(graph, "maximum", {a, b}), node(graph, "minimum", {a, b})});
  gradients(graph, y, {a, b});
  const TensorMap found = evaluate(graph,
                                   {{"a", tensor({3}, {1, 2, 3})},
                                    {"b", tensor({3}, {3, 2, 1})},
                                    {"dy", tensor({3}, {1, 1, 1})}},
                                   {});
  EXPECT_EQ(found.at("d0").to_doubles(), (Numbers{1, 1, 1}));
  EXPECT_EQ(found.at("d1").to_doubles(), (Numbers{1, 1, 1}));
}

TEST(Differentiate, KinksFallOnTheSideOfPyTorch) {
  const auto at = [](const char* op, double value, const Attributes& attributes = {}) {
    Graph graph;
    const Value x = input(graph, "x", "f32[1]");
    gradients(graph, node(graph, op, {x}, attributes), {x});
    return evaluate(graph, {{"x", tensor({1}, {value})}, {"dy", tensor({1}, {7})}}, {})
        .at("d0")
        .at(0);
  };
  EXPECT_EQ(at("relu", 0), 0);
  EXPECT_EQ(at("abs", 0), 0);
  EXPECT_EQ(at("abs", -2), -7);
  EXPECT_EQ(at("clamp", -1, {{"min", -1.0}, {"max", 2.0}}), 7);  // the bounds pass
  EXPECT_EQ(at("clamp", 2, {{"min", -1.0}, {"max", 2.0}}), 7);
  EXPECT_EQ(at("clamp", 2.5, {{"min", -1.0}, {"max", 2.0}}), 0);
}

TEST(Differentiate, PowersAtZeroAreFinite) {
  Graph graph;
  const Value a = input(graph, "a", "f32[3]"), b = input(graph, "b", "f32[3]");
  gradients(graph, node(graph, "pow", {a, b}), {a, b});
  const TensorMap found = evaluate(graph,
                                   {{"a", tensor({3}, {0, 0, -3})},
                                    {"b", tensor({3}, {0, 2, 2})},
                                    {"dy", tensor({3}, {1, 1, 1})}},
                                   {});
  EXPECT_EQ(found.at("d0").to_doubles(), (Numbers{0, 0, -6}));
  EXPECT_EQ(found.at("d1").at(0), 0);
  EXPECT_EQ(found.at("d1").at(1), 0);
}

TEST(Differentiate, AnOpWithoutGradientIsNamedWithItsReason) {
  Graph graph;
  const Value x = input(graph, "x", "f32[3, 4]");
  const Value y = node(graph, "softmax_bwd", {x, x});
  EXPECT_THAT(error_of([&] { gradients(graph, y, {x}); }),
              ::testing::AllOf(HasSubstr("softmax_bwd"), HasSubstr("second derivatives")));
}

TEST(Differentiate, BatchStatisticsHaveNoCotangent) {
  Graph graph;
  const Value x = input(graph, "x", "f32[4, 3]"), c = input(graph, "c", "f32[3]");
  Node* norm = graph.create("batch_norm_train", {x, c, c, c, c});
  EXPECT_THAT(error_of([&] { gradients(graph, norm->result(1), {x}); }),
              HasSubstr("batch statistics"));
}

TEST(Differentiate, SymbolicShapesAreRefused) {
  Graph graph;
  const Value x = input(graph, "x", "f32[N, 4]");
  EXPECT_THAT(error_of([&] { gradients(graph, node(graph, "relu", {x}), {x}); }), HasSubstr("N"));
}

TEST(Differentiate, OneProductForOneMatrixAgainstMany) {
  Graph graph;
  const Value a = input(graph, "a", "f32[2, 3, 4, 5]"), b = input(graph, "b", "f32[5, 6]");
  gradients(graph, node(graph, "matmul", {a, b}), {b});
  EXPECT_EQ(count(graph, "reduce_sum"), 0);
  EXPECT_EQ(count(graph, "matmul"), 1);
}

TEST(Differentiate, TheGradientOfOneMatrixHasItsAxes) {
  Graph graph;
  const Value a = input(graph, "a", "f32[1, 1, 4, 5]"), b = input(graph, "b", "f32[1, 1, 5, 6]");
  const Value db = gradients(graph, node(graph, "matmul", {a, b}), {b})[0];
  EXPECT_EQ(to_string(db.type()), "f32[1, 1, 5, 6]");
}

/// One batch norm over [4, 1], applied `times` in a row.
Graph repeated_norm(int times) {
  Network net("repeated");
  Tensor x = net.input("x", {"N", 1});
  const Scope shared = net.root().shared();
  for (int i = 0; i < times; ++i)
    x = shared.batch_norm("bn", x + static_cast<double>(i), {.epsilon = 1});
  net.output("y", x);
  return net.finish();
}

TEST(VectorJacobian, AnOutputWhoseNodeIsReplacedIsStillGiven) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[2, 5, 4]"} : f32[2, 5, 4]
  %1 = input() {name = "shift", type = "f32[4]"} : f32[4]
  %2 = sdpa(%0, %0, %0, %1) {channel_axis = -1, extras = ["output_shift"], heads = 1, key = [0, 4, 4], query = [0, 4, 4], value = [0, 4, 4]} : f32[2, 5, 4]
  return "y" = %2
)");
  const Graph product = vector_jacobian_product(graph, {"y"});
  TensorMap inputs{{"x", testing::uniform("x", {2, 5, 4}, -1, 1)},
                   {"shift", testing::uniform("shift", {4}, -1, 1)}};
  const HostTensor y = evaluate(graph, inputs, {}).at("y");
  inputs["cotangent:y"] = y;
  const TensorMap found = evaluate(product, inputs, {});
  EXPECT_LT(testing::max_difference(found.at("output:y"), y), 1e-12);
  EXPECT_TRUE(found.contains("input:x"));
}

TEST(TrainingMode, ABatchNormAppliedThreeTimesMovesItsStatisticsThreeTimesInOrder) {
  Graph graph = repeated_norm(3).with_symbol("N", 4);
  to_training_mode(graph);
  verify(graph);
  EXPECT_EQ(count(graph, "batch_norm_train"), 3);
  EXPECT_EQ(count(graph, "batch_norm"), 0);
  ASSERT_EQ(graph.updates().size(), 2U);
  const TensorMap state = {{"bn.weight", tensor({1}, {2})},
                           {"bn.bias", tensor({1}, {5})},
                           {"bn.running_mean", tensor({1}, {10})},
                           {"bn.running_var", tensor({1}, {100})}};
  const EvaluatedStep step = evaluate_step(graph, {{"x", tensor({4, 1}, {-1, 1, -1, 1})}}, state);
  // Batch means: 0; then 5 + 1; then 5 + 2.
  double mean = 10;
  for (const double batch : {0.0, 6.0, 7.0}) mean = 0.9 * mean + 0.1 * batch;
  EXPECT_NEAR(step.updates.at("bn.running_mean").at(0), mean, 1e-14);
  // Biased variances v: 1; then 4 v / (v + 1) of the one before; the running one takes 4/3 of each.
  double variance = 100, batch = 1;
  for (int i = 0; i < 3; ++i) {
    variance = 0.9 * variance + 0.1 * batch * 4 / 3;
    batch = 4 * batch / (batch + 1);
  }
  EXPECT_NEAR(step.updates.at("bn.running_var").at(0), variance, 1e-13);
}

TEST(TrainingMode, TheGradientOfARepeatedBatchNormSumsItsUses) {
  Graph graph = repeated_norm(2).with_symbol("N", 4);
  to_training_mode(graph);
  const Value weight = graph.read_parameter("bn.weight")->result();
  const Value bias = graph.read_parameter("bn.bias")->result();
  gradients(graph, graph.outputs()[0].value, {weight, bias});
  TensorMap state = {{"bn.weight", tensor({1}, {2})},
                     {"bn.bias", tensor({1}, {5})},
                     {"bn.running_mean", tensor({1}, {0})},
                     {"bn.running_var", tensor({1}, {1})}};
  const TensorMap inputs = {{"x", tensor({4, 1}, {-1, 0.5, 2, 3})},
                            {"dy", tensor({4, 1}, {1, 2, -3, 0.5})}};
  const TensorMap found = evaluate(graph, inputs, state);
  const auto loss = [&](const char* key, double step) {
    TensorMap moved = state;
    moved[key] = tensor({1}, {state.at(key).at(0) + step});
    const HostTensor y = evaluate(graph, inputs, moved).at("y");
    double sum = 0;
    for (std::int64_t i = 0; i < 4; ++i) sum += y.at(i) * inputs.at("dy").at(i);
    return sum;
  };
  const double h = 1e-5;
  EXPECT_NEAR(found.at("d0").at(0), (loss("bn.weight", h) - loss("bn.weight", -h)) / (2 * h), 1e-8);
  EXPECT_NEAR(found.at("d1").at(0), (loss("bn.bias", h) - loss("bn.bias", -h)) / (2 * h), 1e-8);
  EXPECT_GT(std::fabs(found.at("d0").at(0)), 0.1);
  EXPECT_NEAR(found.at("d1").at(0), 0.5, 1e-12);  // the first bias is taken out by the second norm
}

}  // namespace
}  // namespace facet
