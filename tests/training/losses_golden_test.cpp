#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/op_samples.h"
#include "tests/training/loss_case.h"
#include "training/losses.h"

// losses.json: losses, gradients and moved centres of the published implementations in float64.

namespace facet::testing {
namespace {

using nlohmann::json;

constexpr double kExact = 1e-9;
constexpr std::int64_t kRows = 8, kClasses = 10, kWidth = 32;

const json& golden() {
  static const json file = read_json("losses");
  return file;
}

HostTensor labels() {
  return labels_tensor(golden().at("labels").get<std::vector<std::int64_t>>());
}

void expect_tensor(const HostTensor& actual, const json& expected, const std::string& what) {
  const HostTensor wanted = read_tensor(expected);
  ASSERT_EQ(actual.shape(), wanted.shape()) << what;
  EXPECT_LE(max_difference(wanted, actual), kExact) << what;
}

/// A network of the inputs that a case names, its loss compared with the case.
class LossCase {
 public:
  explicit LossCase(const std::string& name) : expected_(golden().at("cases").at(name)) {
    inputs_["labels"] = testing::labels();
  }

  Network& network() { return network_; }
  Tensor labels() { return network_.input("labels", {kRows}, DType::i64); }
  /// An input that the golden file calls `golden_name`, with numbers of the formula.
  Tensor input(const std::string& name, std::int64_t rows, std::int64_t columns, double bound) {
    inputs_[name] = uniform(name, {rows, columns}, -bound, bound);
    return network_.input(name, {rows, columns});
  }
  Tensor embeddings(const std::string& suffix = "") {
    return input("embeddings" + suffix, kRows, kWidth, 1);
  }
  Tensor logits(const std::string& suffix = "") {
    return input("logits" + suffix, kRows, kClasses, 3);
  }
  void state(const std::string& key, const std::string& name) {
    parameters_[key] = uniform(name, {kClasses, kWidth}, -1, 1);
  }

  /// Compares the loss and every gradient of the case; those of inputs are under their names, with
  /// '.' spelled '_'.
  LossResult expect(Tensor loss) {
    network_.output("loss", loss);
    LossResult result = evaluate_loss(network_.finish(), inputs_, parameters_);
    EXPECT_NEAR(result.loss, expected_.at("loss").get<double>(), kExact);
    std::size_t compared = 0;
    for (const auto& [name, gradient] : result.gradients) {
      std::string spelled = name;
      std::replace(spelled.begin(), spelled.end(), '.', '_');
      if (!expected_.at("grad").contains(spelled)) continue;
      expect_tensor(gradient, expected_.at("grad").at(spelled), name);
      ++compared;
    }
    EXPECT_EQ(compared, expected_.at("grad").size());
    return result;
  }
  const json& expected() const { return expected_; }

 private:
  const json& expected_;
  Network network_{"loss"};
  TensorMap inputs_;
  TensorMap parameters_;
};

TEST(LossesGolden, CrossEntropy) {
  LossCase one("cross_entropy"), smooth("cross_entropy_smooth_0.1");
  one.expect(cross_entropy(one.logits(), one.labels()));
  smooth.expect(cross_entropy(smooth.logits(), smooth.labels(), 0.1));
}

void expect_margin(const std::string& name, const MarginOptions& options) {
  SCOPED_TRACE(name);
  LossCase one(name);
  const Tensor cosines =
      cosine_similarities(one.embeddings(), one.input("centers", kClasses, kWidth, 1));
  const Tensor labels = one.labels();
  one.expect(cross_entropy(margin_logits(cosines, labels, options), labels));
}

TEST(LossesGolden, Margins) {
  using Kind = MarginOptions::Kind;
  using Variant = MarginOptions::Variant;
  expect_margin("arcface_head_s64_m0.5", {});
  expect_margin("cosface_s64_m0.4", {.kind = Kind::cosface, .margin = 0.4});
  expect_margin("arcface_threshold_s64_m0.5", {.variant = Variant::threshold});
  expect_margin("arcface_autograd_s64_m0.5", {.variant = Variant::autograd});
}

TEST(LossesGolden, DcrTrunk) {
  LossCase one("dcr_trunk_loss");
  one.state("center.centers", "center_buffer");
  const Tensor embeddings = one.embeddings(), logits = one.logits(), labels = one.labels();
  const LossResult result = one.expect(dcr_trunk_loss(one.network(), embeddings, logits, labels));
  EXPECT_FALSE(result.gradients.contains("center.centers")) << "the centres get no gradient";
  expect_tensor(result.state.at("center.centers"), one.expected().at("centers_after"), "centers");
}

TEST(LossesGolden, DcrCoupled) {
  LossCase one("dcr_cm_loss_3_scales");
  std::vector<Tensor> embeddings, logits;
  for (int k = 0; k < 3; ++k) {
    embeddings.push_back(one.embeddings(fmt::format(".{}", k)));
    logits.push_back(one.logits(fmt::format(".{}", k)));
    one.state(fmt::format("centers.{}.centers", k), fmt::format("center_buffer.{}", k));
  }
  const LossResult result =
      one.expect(dcr_coupled_loss(one.network(), embeddings, logits, one.labels()));
  for (int k = 0; k < 3; ++k) {
    expect_tensor(result.state.at(fmt::format("centers.{}.centers", k)),
                  one.expected().at("centers_after").at(fmt::format("{}", k)), "centers");
  }
}

}  // namespace
}  // namespace facet::testing
