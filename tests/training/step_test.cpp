#include "training/step.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/ir/error_of.h"
#include "tests/support/op_samples.h"
#include "tests/training/loss_case.h"

namespace facet::testing {
namespace {

using Kind = LossOptions::Kind;

/// x [N, 3] -> embedding [N, 4] -> logits [N, 5], with a batch norm between.
Graph network() {
  Network network("net");
  const Scope root = network.root();
  const Tensor x = network.input("x", {"N", 3});
  const Tensor e = root.batch_norm("bn", root.linear("fc1", x, {.out = 4}));
  network.output("embedding", e);
  network.output("logits", root.linear("fc2", relu(e), {.out = 5}));
  return network.finish();
}

TensorMap inputs(std::int64_t batch = 6) {
  std::vector<std::int64_t> labels, others;
  for (std::int64_t i = 0; i < batch; ++i) {
    labels.push_back(i % 5);
    others.push_back((i + 2) % 5);
  }
  return {{"x", fill_input("x", {batch, 3})},
          {"labels", labels_tensor(labels)},
          {"mixed_labels", labels_tensor(others)},
          {"own_share", HostTensor::from_doubles({1}, {0.25})},
          {"lr", HostTensor::from_doubles({1}, {0.1})}};
}

TensorMap filled(const Graph& graph) {
  TensorMap state = fill_parameters(graph);
  for (auto& [key, tensor] : state) {
    if (key.starts_with("optimizer.") || key.starts_with("accumulated.")) {
      tensor = HostTensor(DType::f32, tensor.shape());
    }
  }
  return state;
}

std::vector<std::string> names(const std::vector<Output>& outputs) {
  std::vector<std::string> list;
  for (const Output& output : outputs) list.push_back(output.name);
  return list;
}

TEST(WithLoss, ReplacesTheOutputsAndKeepsTheBatchSymbolic) {
  const Graph graph = with_loss(network(), {.label_smoothing = 0.1});
  EXPECT_EQ(names(graph.outputs()), (std::vector<std::string>{"loss", "logits"}));
  EXPECT_EQ(graph.symbols(), (std::vector<std::string>{"N"}));
  EXPECT_TRUE(graph.updates().empty());
  const TensorMap found = evaluate(graph, inputs(3), filled(graph));
  EXPECT_EQ(found.at("loss").shape(), (std::vector<std::int64_t>{1}));
  EXPECT_EQ(found.at("logits").shape(), (std::vector<std::int64_t>{3, 5}));
}

TEST(WithLoss, MixedLabelsWeighTwoLosses) {
  const Graph plain = with_loss(network(), {});
  const Graph mixed = with_loss(network(), {.mixed_labels = true});
  TensorMap given = inputs();
  const TensorMap state = filled(plain);
  const double own = evaluate(plain, given, state).at("loss").at(0);
  const double both = evaluate(mixed, given, state).at("loss").at(0);
  given["labels"] = given.at("mixed_labels");
  const double other = evaluate(plain, given, state).at("loss").at(0);
  EXPECT_NEAR(both, 0.25 * own + 0.75 * other, 1e-13);
}

TEST(WithLoss, AMarginHeadIsAParameterOfItsOwn) {
  const Graph graph = with_loss(network(), {.kind = Kind::margin, .classes = 7});
  const Parameter* head = graph.find_parameter("head.weight");
  ASSERT_NE(head, nullptr);
  EXPECT_EQ(head->type, (Type{DType::f32, {7, 4}, {}}));
  EXPECT_EQ(head->role, ParameterRole::weight);
  EXPECT_EQ(head->init.kind, Initializer::Kind::normal);
  EXPECT_EQ(head->init.b, 0.01);
  for (const double cosine : evaluate(graph, inputs(), filled(graph)).at("logits").to_doubles()) {
    EXPECT_LE(std::fabs(cosine), 1);
  }
}

TEST(WithLoss, MistakesAreNamed) {
  EXPECT_EQ(test::error_of([] { with_loss(network(), {.logits = {"logit"}}); }),
            "the loss needs of network 'net' the output 'logit'; it has embedding, logits");
  Graph headless = network();
  headless.select_outputs({"embedding"});
  EXPECT_EQ(
      test::error_of([&] { with_loss(headless.clone(), {}); }),
      "the loss needs of network 'net' the output one that ends in 'logits'; it has embedding");
  EXPECT_EQ(test::error_of([] { with_loss(network(), {.kind = Kind::margin}); }),
            "a margin loss needs the number of classes, not 0");
  EXPECT_EQ(
      test::error_of([] { with_loss(network(), {.kind = Kind::dcr_trunk, .mixed_labels = true}); }),
      "a loss with class centres takes no mixed labels");
}

/// Loss of the training-mode forward pass at `state`.
double loss_at(const Graph& step, const TensorMap& state) {
  return evaluate(step, inputs(), state).at("loss").at(0);
}

TEST(TrainingStep, GoesAgainstTheGradientOfEveryParameter) {
  const Graph step = make_training_step(network(), {.optimizer = {.momentum = 0}, .batch = 6});
  const TensorMap start = filled(step);
  const EvaluatedStep result = evaluate_step(step, inputs(), start);
  for (const std::string key : {"fc1.weight", "bn.weight", "bn.bias", "fc2.weight", "fc2.bias"}) {
    const HostTensor& before = start.at(key);
    for (const std::int64_t i : {std::int64_t{0}, before.element_count() - 1}) {
      TensorMap up = start, down = start;
      up[key] = before.cast(DType::f64).clone();
      down[key] = up.at(key).clone();
      up.at(key).as_mutable<double>()[i] += 1e-5;
      down.at(key).as_mutable<double>()[i] -= 1e-5;
      const double slope = (loss_at(step, up) - loss_at(step, down)) / 2e-5;
      EXPECT_NEAR((before.at(i) - result.updates.at(key).at(i)) / 0.1, slope, 1e-8) << key << i;
    }
  }
  EXPECT_TRUE(result.updates.contains("bn.running_mean"));
  EXPECT_EQ(names(step.outputs()), (std::vector<std::string>{"loss", "logits"}));
}

TEST(TrainingStep, FrozenParametersStayAndCostNothing) {
  const Graph all = make_training_step(network(), {.batch = 6});
  const Graph some = make_training_step(network(), {.batch = 6, .frozen = {"fc1.", "bn."}});
  const EvaluatedStep result = evaluate_step(some, inputs(), filled(some));
  EXPECT_FALSE(result.updates.contains("fc1.weight"));
  EXPECT_TRUE(result.updates.contains("fc2.weight"));
  EXPECT_TRUE(result.updates.contains("bn.running_var"));
  EXPECT_LT(some.size(), all.size() - 10);
  for (const auto& node : some.nodes()) EXPECT_FALSE(node->is("batch_norm_bwd"));
  EXPECT_EQ(test::error_of([] { make_training_step(network(), {.batch = 6, .frozen = {"fc3"}}); }),
            "network 'net' has no parameter whose key begins with 'fc3'");
}

TEST(TrainingStep, MeasuresTheNormOfTheGradients) {
  const Graph step = make_training_step(
      network(), {.optimizer = {.momentum = 0, .measure_norm = true}, .batch = 6});
  const TensorMap start = filled(step);
  const EvaluatedStep result = evaluate_step(step, inputs(), start);
  double sum = 0;
  for (const auto& [key, value] : result.updates) {
    if (!step.find_parameter(key)->trainable) continue;
    for (std::int64_t i = 0; i < value.element_count(); ++i) {
      sum += std::pow((start.at(key).at(i) - value.at(i)) / 0.1, 2);
    }
  }
  // lr is 0.1 in double, parameters are f32 and pass through double.
  EXPECT_NEAR(result.outputs.at("gradient_norm").at(0), std::sqrt(sum), 1e-9);
}

TEST(TrainingStep, AccumulatingAddsGradientsOnly) {
  StepOptions options{.optimizer = {.momentum = 0, .accumulate = 2}, .batch = 6};
  const Graph step = make_training_step(network(), options);
  options.accumulate_only = true;
  const Graph add = make_training_step(network(), options);
  for (const Node* input : add.inputs()) EXPECT_NE(input->attributes().text("name"), "lr");
  TensorMap state = filled(step);
  const TensorMap before = state;
  for (const auto& [key, value] : evaluate_step(add, inputs(), state).updates) state[key] = value;
  EXPECT_EQ(max_difference(state.at("fc2.weight"), before.at("fc2.weight")), 0);
  // The same batch again: twice the gradient of one step. The batch norms' statistics do not
  // matter.
  const EvaluatedStep twice = evaluate_step(step, inputs(), state);
  const Graph plain = make_training_step(network(), {.optimizer = {.momentum = 0}, .batch = 6});
  const EvaluatedStep once = evaluate_step(plain, inputs(), before);
  const auto moved = [&](const EvaluatedStep& result) {
    return result.updates.at("fc2.weight").at(3) - before.at("fc2.weight").at(3);
  };
  EXPECT_NEAR(moved(twice), 2 * moved(once), 1e-15);
}

TEST(TrainingStep, CentresAreUpdated) {
  const Graph step = make_training_step(network(), {.loss = {.kind = Kind::dcr_trunk}, .batch = 6});
  const EvaluatedStep result = evaluate_step(step, inputs(), filled(step));
  EXPECT_EQ(result.updates.at("center.centers").shape(), (std::vector<std::int64_t>{5, 4}));
  EXPECT_FALSE(step.find_parameter("center.centers")->trainable);
}

TEST(TrainingStep, AveragesStartAsTheParameters) {
  const Graph step = make_training_step(network(), {.optimizer = {.ema_decay = 0.9}, .batch = 6});
  TensorMap state = filled(step);
  state.erase("ema.fc1.weight");
  state["ema.fc1.bias"] = HostTensor(DType::f32, {4});
  start_averages(step, state);
  EXPECT_EQ(max_difference(state.at("ema.fc1.weight"), state.at("fc1.weight")), 0);
  EXPECT_EQ(state.at("ema.fc1.bias").at(0), 0) << "what is there stays";
}

}  // namespace
}  // namespace facet::testing
