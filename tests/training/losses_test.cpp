#include "training/losses.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/ir/error_of.h"
#include "tests/training/loss_case.h"

// What the golden losses do not reach: branches of the margins, filtering, rows without target.

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;
using Kind = MarginOptions::Kind;
using Variant = MarginOptions::Variant;

/// Logits and the gradient of their weighted sum, for cosines [2, 3] and labels.
struct Margin {
  Numbers logits;
  Numbers gradient;
};

Margin margin(const Numbers& cosines, const std::vector<std::int64_t>& labels,
              const MarginOptions& options) {
  Network network("margin");
  const Tensor c = network.input("c", {2, 3});
  const Tensor weights = network.input("weights", {2, 3});
  const Tensor y = network.input("labels", {2}, DType::i64);
  const Tensor logits = margin_logits(c, y, options);
  network.output("loss", reshape(sum(logits * weights, {0, 1}), {1}));
  network.output("logits", logits);
  const TensorMap inputs{{"c", HostTensor::from_doubles({2, 3}, cosines)},
                         {"weights", HostTensor::from_doubles({2, 3}, {1, 2, 3, 4, 5, 6})},
                         {"labels", labels_tensor(labels)}};
  Graph graph = network.finish();
  const Numbers values = evaluate(graph, inputs, {}).at("logits").to_doubles();
  graph.select_outputs({"loss"});
  return {values, evaluate_loss(std::move(graph), inputs, {}).gradients.at("c").to_doubles()};
}

void expect_near(const Numbers& actual, const Numbers& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-12) << "element " << i;
  }
}

const Numbers kCosines{0.6, 0.1, -0.3, -0.95, 0.2, 0.8};

TEST(MarginLogits, ArcFaceAddsTheAngle) {
  const Margin straight = margin(kCosines, {0, 1}, {.scale = 10, .margin = 0.5});
  const double first = 10 * std::cos(std::acos(0.6) + 0.5);
  const double second = 10 * std::cos(std::acos(0.2) + 0.5);
  expect_near(straight.logits, {first, 1, -3, -9.5, second, 8});
  expect_near(straight.gradient, {10, 20, 30, 40, 50, 60});
  const Margin exact =
      margin(kCosines, {0, 1}, {.variant = Variant::autograd, .scale = 10, .margin = 0.5});
  expect_near(exact.logits, straight.logits);
  // d cos(t + m) / d cos t = sin(t + m) / sin t
  const auto slope = [](double c) { return std::sin(std::acos(c) + 0.5) / std::sin(std::acos(c)); };
  expect_near(exact.gradient, {10 * slope(0.6), 20, 30, 40, 50 * slope(0.2), 60});
}

TEST(MarginLogits, TheThresholdBendsWhereTheAngleWouldPassPi) {
  const MarginOptions options{.variant = Variant::threshold, .scale = 10, .margin = 0.5};
  const Margin bent = margin(kCosines, {0, 0}, options);  // acos(-0.95) + 0.5 > pi
  EXPECT_NEAR(bent.logits[0], 10 * std::cos(std::acos(0.6) + 0.5), 1e-12);
  EXPECT_NEAR(bent.logits[3], 10 * (-0.95 - 0.5 * std::sin(0.5)), 1e-12);
  EXPECT_NEAR(bent.gradient[3], 40, 1e-12);
}

TEST(MarginLogits, AnEasyMarginSparesNegativeCosines) {
  const MarginOptions options{
      .variant = Variant::threshold, .scale = 10, .margin = 0.5, .easy_margin = true};
  const Margin easy = margin(kCosines, {0, 0}, options);
  EXPECT_NEAR(easy.logits[0], 10 * std::cos(std::acos(0.6) + 0.5), 1e-12);
  EXPECT_NEAR(easy.logits[3], -9.5, 1e-12);
}

TEST(MarginLogits, DerivativesAtTheEndsAreFinite) {
  for (const Variant variant : {Variant::threshold, Variant::autograd}) {
    const Margin ends = margin({1, 0, 0, -1, 0, 0}, {0, 0}, {.variant = variant});
    for (const double value : ends.gradient) EXPECT_TRUE(std::isfinite(value));
    EXPECT_NEAR(ends.logits[0], 64 * std::cos(0.5), 1e-4);
  }
}

TEST(MarginLogits, CosFaceSubtracts) {
  const Margin cosface =
      margin(kCosines, {2, 1}, {.kind = Kind::cosface, .scale = 10, .margin = 0.4});
  expect_near(cosface.logits, {6, 1, -7, -9.5, -2, 8});
  expect_near(cosface.gradient, {10, 20, 30, 40, 50, 60});
}

TEST(MarginLogits, FilteringZeroesOtherClassesAboveTheThreshold) {
  // Row 0: the target 0.6 stays; row 1 has no target, so 0.8 goes.
  const Margin kept =
      margin(kCosines, {0, -1},
             {.kind = Kind::cosface, .scale = 10, .margin = 0.1, .filter_threshold = 0.5});
  expect_near(kept.logits, {5, 1, -3, -9.5, 2, 0});
  expect_near(kept.gradient, {10, 20, 30, 40, 50, 0});
}

TEST(MarginLogits, MistakesAreNamed) {
  const auto message = [](const MarginOptions& options) {
    return test::error_of([&] { margin(kCosines, {0, 0}, options); });
  };
  EXPECT_EQ(message({.margin = 4}), "the margin is 4; it must be at least 0 and below 3.142");
  EXPECT_EQ(message({.scale = 0}), "the scale of a margin loss is 0; it must be positive");
  EXPECT_EQ(message({.easy_margin = true}),
            "an easy margin needs arcface in its threshold variant");
  EXPECT_EQ(message({.filter_threshold = 2}),
            "the threshold of inter-class filtering is 2; it must be in [0, 1], 0 for none");
}

TEST(CenterLoss, MovesCentresByTheMeanOfTheirRowsAndSkipsRowsWithoutTarget) {
  Network network("centers");
  const Tensor x = network.input("x", {4, 2});
  const Tensor labels = network.input("labels", {4}, DType::i64);
  const Tensor centers = network.root().state_parameter("c", {3, 2}, {});
  const Tensor moved = moved_centers(centers, x, labels, 0.5);
  network.update(centers, moved);
  network.output("loss", center_loss(x, moved, labels));
  const TensorMap inputs{{"x", HostTensor::from_doubles({4, 2}, {1, 2, 3, 6, 8, 8, 5, 5})},
                         {"labels", labels_tensor({1, 1, -1, 0})}};
  const TensorMap state{{"c", HostTensor::from_doubles({3, 2}, {1, 1, 0, 0, 7, 7})}};
  const LossResult result = evaluate_loss(network.finish(), inputs, state);
  // c_0 = 1 + (5 - 1) / 2; c_1 = mean((1, 2), (3, 6)) / 2.
  expect_near(result.state.at("c").to_doubles(), {3, 3, 1, 2, 7, 7});
  // (0, 0), (2, 4), none, (2, 2)
  EXPECT_NEAR(result.loss, (4 + 16 + 4 + 4) / 8.0, 1e-12);
  expect_near(result.gradients.at("x").to_doubles(), {0, 0, 0.5, 1, 0, 0, 0.5, 0.5});
  EXPECT_FALSE(result.gradients.contains("c"));
}

TEST(DcrCoupledLoss, TakesAsManyEmbeddingsAsLogits) {
  Network network("coupled");
  const Tensor x = network.input("x", {4, 2});
  const Tensor labels = network.input("labels", {4}, DType::i64);
  EXPECT_EQ(test::error_of([&] {
              dcr_coupled_loss(network, {x}, {x, x}, labels);
            }),
            "the coupled loss takes embeddings and logits of every scale, not 1 embeddings and 2 "
            "logits");
}

}  // namespace
}  // namespace facet::testing
