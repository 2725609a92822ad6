#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "passes/training_mode.h"
#include "tests/support/op_samples.h"
#include "tests/training/trajectory_case.h"

// The two stages of Deep Coupled ResNet as whole training steps in float64.

namespace facet::testing {
namespace {

using nlohmann::json;
using Kind = LossOptions::Kind;

constexpr std::int64_t kBatch = 3, kScales = 3, kClasses = 5;

/// A network whose outputs are free tensors of losses.json, under the names of its inputs.
class FreeOutputs {
 public:
  void add(const std::string& input, const std::string& output, std::int64_t columns,
           double bound) {
    inputs_[input] = uniform(input, {8, columns}, -bound, bound);
    network_.output(output, network_.input(input, {8, columns}));
  }
  void centers(const std::string& key, const std::string& name) {
    state_[key] = uniform(name, {10, 32}, -1, 1);
  }

  /// Compares loss, gradients and moved centres with the case.
  void expect(const json& file, const std::string& name, const LossOptions& options) {
    const json& golden = file.at("cases").at(name);
    inputs_["labels"] = labels_tensor(file.at("labels").get<std::vector<std::int64_t>>());
    const LossResult result = evaluate_loss(with_loss(network_.finish(), options), inputs_, state_);
    EXPECT_NEAR(result.loss, golden.at("loss").get<double>(), 1e-9);
    std::size_t compared = 0;
    for (const auto& [key, gradient] : result.gradients) {
      std::string spelled = key;
      std::replace(spelled.begin(), spelled.end(), '.', '_');
      if (!golden.at("grad").contains(spelled)) continue;
      EXPECT_LE(max_difference(read_tensor(golden.at("grad").at(spelled)), gradient), 1e-9) << key;
      ++compared;
    }
    EXPECT_EQ(compared, golden.at("grad").size());
    EXPECT_EQ(result.state.size(), state_.size()) << "every centre moves";
  }

 private:
  Network network_{"free"};
  TensorMap inputs_;
  TensorMap state_;
};

TEST(StageLosses, FindTheOutputsOfEveryScaleByName) {
  const json file = read_json("losses");
  FreeOutputs coupled;
  for (int k = 0; k < 3; ++k) {
    coupled.add(fmt::format("embeddings.{}", k), fmt::format("branch_embeddings.{}", k), 32, 1);
    coupled.add(fmt::format("logits.{}", k), fmt::format("branch_logits.{}", k), 10, 3);
    coupled.centers(fmt::format("centers.{}.centers", k), fmt::format("center_buffer.{}", k));
  }
  coupled.expect(file, "dcr_cm_loss_3_scales", {.kind = Kind::dcr_coupled});
  FreeOutputs trunk;
  trunk.add("embeddings", "trunk_embeddings", 32, 1);
  trunk.add("logits", "trunk_logits", 10, 3);
  trunk.centers("center.centers", "center_buffer");
  trunk.expect(file, "dcr_trunk_loss", {.kind = Kind::dcr_trunk});
}

// Without the centres' weight the trunk stage is the golden trajectory of plain cross entropy.
TEST(TrunkStage, WithoutCentreLossItIsTheGoldenTrajectory) {
  Trajectory one = trajectories().front();
  ASSERT_EQ(one.model, "dcr");
  one.loss = {.kind = Kind::dcr_trunk, .dcr = {.center_weight = 0}};
  const GoldenTrajectory golden = read_trajectory(one.name);
  const Graph step = training_step_of(one, golden.shape.at(0));
  TensorMap state = start_of(step);
  for (std::size_t t = 0; t < golden.losses.size(); ++t) {
    const EvaluatedStep result =
        evaluate_step(step, inputs_of(one, golden, static_cast<std::int64_t>(t)), state);
    EXPECT_NEAR(result.outputs.at("loss").at(0), golden.losses[t], 1e-8) << "step " << t;
    for (const auto& [key, value] : result.updates) state[key] = value;
  }
}

/// Rows of a tensor in double precision.
struct Rows {
  explicit Rows(const HostTensor& tensor)
      : values(tensor.to_doubles()), width(tensor.shape().at(1)) {}
  double at(std::int64_t row, std::int64_t column) const {
    return values[static_cast<std::size_t>(row * width + column)];
  }
  std::vector<double> values;
  std::int64_t width;
};

double mean_cross_entropy(const Rows& logits, const std::vector<std::int64_t>& labels) {
  double sum = 0;
  for (std::int64_t n = 0; n < kBatch; ++n) {
    double exponentials = 0;
    for (std::int64_t c = 0; c < logits.width; ++c) exponentials += std::exp(logits.at(n, c));
    sum += std::log(exponentials) - logits.at(n, labels[static_cast<std::size_t>(n)]);
  }
  return sum / static_cast<double>(kBatch);
}

double mean_square(const Rows& a, const Rows& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) sum += std::pow(a.values[i] - b.values[i], 2);
  return sum / static_cast<double>(a.values.size());
}

/// The mean squared distance to the centres of the classes, moved by 0.6 of the way first.
double center_distance(const Rows& x, Rows centers, const std::vector<std::int64_t>& labels) {
  const Rows before = centers;
  for (std::int64_t j = 0; j < kClasses; ++j) {
    const auto count = std::ranges::count(labels, j);
    for (std::int64_t d = 0; d < x.width && count > 0; ++d) {
      double sum = 0;
      for (std::int64_t n = 0; n < kBatch; ++n) {
        if (labels[static_cast<std::size_t>(n)] == j) sum += x.at(n, d) - before.at(j, d);
      }
      centers.values[static_cast<std::size_t>(j * x.width + d)] +=
          0.6 * sum / static_cast<double>(count);
    }
  }
  double sum = 0;
  for (std::int64_t n = 0; n < kBatch; ++n) {
    for (std::int64_t d = 0; d < x.width; ++d) {
      sum += std::pow(x.at(n, d) - centers.at(labels[static_cast<std::size_t>(n)], d), 2);
    }
  }
  return sum / static_cast<double>(kBatch * x.width);
}

std::map<std::string, std::string> small_dcr(const std::string& branch) {
  return {{"num_classes", "5"}, {"num_scales", "3"}, {"layers", "1,1,1"},
          {"width", "16"},      {"branch", branch},  {"embedding_size", "8"}};
}

HostTensor pictures(std::int64_t scale) {
  return uniform(fmt::format("scale{}", scale), {kBatch, 3, 28, 28}, -1, 1);
}

/// A branch step and what its scales give one after the other through single networks.
void expect_scales_one_after_the_other(bool fixed_bn) {
  SCOPED_TRACE(fixed_bn ? "fixed" : "moving");
  const std::vector<std::int64_t> labels = {4, 1, 4};
  StepOptions options;
  options.loss.kind = Kind::dcr_coupled;
  options.frozen = {"trunk."};
  options.mode.update_statistics = !fixed_bn;
  options.batch = kBatch;
  const Graph step = make_training_step(zoo::build("dcr_small", small_dcr("all")), options);
  TensorMap state = start_of(step);
  TensorMap inputs = {{"labels", labels_tensor(labels)},
                      {"lr", HostTensor::from_doubles({1}, {0.1})}};
  for (std::int64_t k = 0; k < kScales; ++k) {
    inputs[k == 0 ? "input" : fmt::format("input.{}", k)] = pictures(k);
  }
  const EvaluatedStep result = evaluate_step(step, inputs, state);

  double cross = 0, center = 0, distance = 0;
  std::vector<Rows> embeddings;
  TensorMap statistics;
  for (std::int64_t k = 0; k < kScales; ++k) {
    Graph one = zoo::build("dcr_small", small_dcr(std::to_string(k))).with_symbol("N", kBatch);
    if (!fixed_bn) to_training_mode(one);
    const EvaluatedStep alone = evaluate_step(one, {{"input", pictures(k)}}, state);
    for (const auto& [key, value] : alone.updates) statistics[key] = state[key] = value;
    embeddings.emplace_back(alone.outputs.at("embedding"));
    cross += mean_cross_entropy(Rows(alone.outputs.at("logits")), labels);
    center += center_distance(embeddings.back(),
                              Rows(state.at(fmt::format("centers.{}.centers", k))), labels);
    distance += mean_square(embeddings[0], embeddings.back());
  }
  EXPECT_NEAR(result.outputs.at("loss").at(0), (cross + 0.008 * center) / 3 + 0.008 * distance,
              1e-9);
  EXPECT_EQ(statistics.empty(), fixed_bn);
  for (const auto& [key, value] : statistics) {
    EXPECT_LE(max_difference(value, result.updates.at(key)), 1e-9) << key;
  }
  for (const auto& [key, value] : result.updates) {
    if (key.starts_with("trunk.")) {
      EXPECT_TRUE(statistics.contains(key)) << key;
    }
  }
  EXPECT_TRUE(result.updates.contains("branches.2.fc1.weight"));
  EXPECT_TRUE(result.updates.contains("branches.0.relu.weight"));
}

TEST(BranchStage, FeedsEveryScaleThroughTrunkAndBranchOneAfterTheOther) {
  expect_scales_one_after_the_other(false);
  expect_scales_one_after_the_other(true);
}

}  // namespace
}  // namespace facet::testing
