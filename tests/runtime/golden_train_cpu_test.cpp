#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "passes/vector_jacobian.h"
#include "runtime/compile.h"
#include "runtime/weights.h"
#include "tests/support/device.h"
#include "tests/support/fill.h"
#include "tests/support/golden.h"
#include "tests/support/paths.h"
#include "tests/zoo/cases.h"
#include "zoo/zoo.h"

// Training mode on the CPU, or on the device that FACET_TEST_DEVICE names: outputs, the gradients
// of inputs and of every parameter, and the running statistics, against the reference
// implementations. How far float32 may be away is a rule of tests/golden/README.md.
namespace facet::zoo {
namespace {

using Digests = std::map<std::string, testing::Digest>;

/// Gradients below this part of the largest one's norm are rounding noise in float64, such as that
/// of a bias in front of a batch norm.
constexpr double kNoise = 1e-6;
/// What float32 makes of them must stay below this part of the largest.
constexpr double kSmall = 1e-3;

/// How far tensors may be away: all but a tenth of them `usual`, and none farther than `most`.
struct Tolerance {
  double usual, most;
};

/// The tolerances of one case.
struct Tolerances {
  Tolerance outputs, statistics, input_gradients, parameter_gradients;
};

nlohmann::json read_noise(const std::string& table, const std::string& file) {
  std::ifstream stream(testing::test_data() / "golden" / table);
  return nlohmann::json::parse(stream).at(file);
}

Tolerances tolerances_of(const std::string& file) {
  const nlohmann::json noise = read_noise("float32_noise.json", file);
  const auto at_least = [&](double least, const char* name) {
    const double usual = std::max(least, 5 * noise.at(name).get<double>());
    return Tolerance{usual, usual};
  };
  Tolerances tolerances{at_least(1e-4, "train_outputs"), at_least(1e-4, "running_stats"),
                        at_least(1e-2, "grad_inputs"), at_least(1e-2, "grad_params_worst")};
  // That noise is of one order of sums. In another, and ours is, other ReLUs flip, and the
  // gradients of what lies ahead of them are as far away as PyTorch's are in its other orders.
  const nlohmann::json elsewhere = read_noise("float32_noise_avx2.json", file);
  const auto widen = [&](Tolerance& tolerance, const char* name) {
    tolerance.most = std::max(tolerance.most, 2 * elsewhere.at(name).get<double>());
  };
  widen(tolerances.input_gradients, "grad_inputs");
  widen(tolerances.parameter_gradients, "grad_params_worst");
  return tolerances;
}

std::int64_t element_count(const testing::Digest& digest) {
  std::int64_t count = 1;
  for (const std::int64_t extent : digest.shape) count *= extent;
  return count;
}

class GoldenTrainCpu : public ::testing::TestWithParam<ZooCase> {
 protected:
  void SetUp() override {
    const testing::GoldenCase file = testing::read_golden(GetParam().file);
    golden_ = file.train.value();
    const std::int64_t batch = golden_.inputs.at("input").at(0);
    graph_ = build(GetParam().model, GetParam().settings).with_symbol("N", batch);
    for (const Output& output : graph_.outputs()) outputs_.push_back(output.name);
    weights_ = testing::fill_parameters(graph_);
    inputs_ = testing::fill_inputs(graph_, batch);
    for (const auto& [name, digest] : golden_.outputs) {
      const std::string cotangent = "cotangent:" + name;
      inputs_[cotangent] = testing::uniform(cotangent, digest.shape, -1, 1);
    }
  }

  /// The vector-Jacobian product, with everything that makes it fast or with nothing of it.
  TensorMap run(bool optimize, Precision precision = Precision::f32) const {
    CompileOptions options = testing::device_options(precision);
    options.optimize = optimize;
    const Graph step = vector_jacobian_product(graph_, outputs_, optimize);
    return compile(step, weights_, options, 1)->make_context()->run(inputs_);
  }

  /// The norm of the largest gradient.
  double largest() const {
    double result = 0;
    for (const Digests* gradients : {&golden_.input_gradients, &golden_.parameter_gradients}) {
      for (const auto& [name, digest] : *gradients) result = std::max(result, digest.l2);
    }
    return result;
  }

  /// What the error of a gradient is compared with: its norm, which `digest_error` takes. One
  /// number that a whole map's terms cancel to has no scale of its own (in LS-CNN's location
  /// attentions one comes out at a tenth of its siblings and its error with it at ten times
  /// theirs): there it is the rms of the gradients of the same layer's weight.
  static double scale_of(const Digests& gradients, const std::string& name) {
    const testing::Digest& digest = gradients.at(name);
    const std::size_t dot = name.rfind(".bias");
    if (element_count(digest) != 1 || dot == std::string::npos) return digest.l2;
    const auto weight = gradients.find(name.substr(0, dot) + ".weight");
    if (weight == gradients.end()) return digest.l2;
    const auto count = static_cast<double>(element_count(weight->second));
    return std::max(digest.l2, weight->second.l2 / std::sqrt(count));
  }

  /// `found` holds each of `digests` under `prefix` and its name, no farther away than `tolerance`;
  /// what is below `noise` is only small.
  void expect(const TensorMap& found, const Digests& digests, const std::string& prefix,
              const Tolerance& tolerance, double noise) const {
    double worst = 0;
    std::vector<std::string> unusual;
    for (const auto& [name, digest] : digests) {
      ASSERT_TRUE(found.contains(prefix + name)) << prefix << name;
      const HostTensor& tensor = found.at(prefix + name);
      if (digest.l2 < noise) {
        EXPECT_LT(testing::l2_norm(tensor), kSmall / kNoise * noise) << prefix << name;
        continue;
      }
      const double error =
          testing::digest_error(digest, tensor).worst() * digest.l2 / scale_of(digests, name);
      EXPECT_LE(error, tolerance.most) << prefix << name;
      if (error > tolerance.usual) unusual.push_back(name);
      worst = std::max(worst, error);
    }
    EXPECT_LE(unusual.size(), (digests.size() + 9) / 10) << ::testing::PrintToString(unusual);
    const std::string what = prefix.empty() ? "parameter:" : prefix;
    RecordProperty("worst_" + what.substr(0, what.size() - 1), std::to_string(worst));
  }

  void expect_golden(const TensorMap& found) const {
    const Tolerances tolerances = tolerances_of(GetParam().file);
    expect(found, golden_.outputs, "output:", tolerances.outputs, 0);
    expect(found, golden_.running_statistics, "state:", tolerances.statistics, 0);
    const double noise = kNoise * largest();
    expect(found, golden_.input_gradients, "input:", tolerances.input_gradients, noise);
    expect(found, golden_.parameter_gradients, "", tolerances.parameter_gradients, noise);
  }

  testing::GoldenTrain golden_;
  Graph graph_;
  std::vector<std::string> outputs_;
  TensorMap weights_;
  TensorMap inputs_;
};

TEST_P(GoldenTrainCpu, F32WithAllPasses) { expect_golden(run(true)); }

TEST_P(GoldenTrainCpu, F32WithoutPasses) { expect_golden(run(false)); }

/// Two sets of gradients, each as one long vector.
struct Comparison {
  double angle = 0;  ///< between them, radians
  double ratio = 0;  ///< of their lengths
};

Comparison compare(const TensorMap& a, const TensorMap& b, const std::vector<std::string>& keys) {
  double ab = 0, aa = 0, bb = 0;
  for (const std::string& key : keys) {
    const HostTensor& x = a.at(key);
    const HostTensor& y = b.at(key);
    for (std::int64_t i = 0; i < x.element_count(); ++i) {
      ab += x.at(i) * y.at(i);
      aa += x.at(i) * x.at(i);
      bb += y.at(i) * y.at(i);
    }
  }
  return {std::acos(ab / std::sqrt(aa * bb)), std::sqrt(bb / aa)};
}

/// Every f32 number rounded to bf16.
TensorMap rounded(TensorMap tensors) {
  for (auto& [name, tensor] : tensors) {
    if (tensor.dtype() == DType::f32) tensor = tensor.cast(DType::bf16).cast(DType::f32);
  }
  return tensors;
}

// The golden networks amplify: statistics of two pictures through a hundred layers. Rounding inputs
// and weights to bf16 and computing in f32 turns an embedding by up to 12 degrees and the gradient
// by up to 84, so these turns are the scale for computing in bf16.
TEST_P(GoldenTrainCpu, Bf16GradientsTurnLittleMoreThanRoundedWeightsMakeThem) {
  std::vector<std::string> keys;
  for (const auto& [name, digest] : golden_.parameter_gradients) keys.push_back(name);
  const TensorMap exact = run(true);
  const TensorMap found = run(true, Precision::bf16);
  for (const auto& [name, tensor] : found) {
    EXPECT_TRUE(std::isfinite(testing::l2_norm(tensor))) << name;
  }
  inputs_ = rounded(inputs_);
  weights_ = rounded(weights_);
  const TensorMap from_rounded = run(true);
  for (const auto& [name, digest] : golden_.outputs) {
    const std::vector<std::string> output = {"output:" + name};
    EXPECT_LE(compare(exact, found, output).angle, 2.5 * compare(exact, from_rounded, output).angle)
        << name;
  }
  const Comparison least = compare(exact, from_rounded, keys);
  const Comparison bf16 = compare(exact, found, keys);
  RecordProperty("angle", std::to_string(bf16.angle));
  RecordProperty("angle_of_rounded_weights", std::to_string(least.angle));
  EXPECT_LE(bf16.angle, 2 * least.angle);
  EXPECT_GT(bf16.ratio, 1.0 / 3);
  EXPECT_LT(bf16.ratio, 3);
}

// As networks are trained: fresh weights and a batch of some size.
TEST(SmallPresetsCpu, Bf16GradientsPointTheSameWay) {
  for (const std::string name : {"lscnn_small", "dcr_small", "mla_small", "lesa_small"}) {
    const Graph graph = build(name).with_symbol("N", 32);
    const Graph step = vector_jacobian_product(graph, {"logits"});
    const TensorMap weights = random_weights(graph, 1);
    const TensorMap inputs = {
        {"input", testing::uniform("input", {32, 3, 28, 28}, -1, 1)},
        {"cotangent:logits", testing::uniform("cotangent:logits", {32, 10}, -1, 1)}};
    const auto run = [&](Precision precision, const TensorMap& parameters, const TensorMap& given) {
      const CompileOptions options = testing::device_options(precision);
      return compile(step, parameters, options, 1)->make_context()->run(given);
    };
    std::vector<std::string> keys;
    for (const Parameter& parameter : graph.parameters()) {
      const auto has = [&](const Output& output) { return output.name == parameter.key; };
      if (std::ranges::any_of(step.outputs(), has)) keys.push_back(parameter.key);
    }
    const TensorMap exact = run(Precision::f32, weights, inputs);
    const Comparison bf16 = compare(exact, run(Precision::bf16, weights, inputs), keys);
    const Comparison least =
        compare(exact, run(Precision::f32, rounded(weights), rounded(inputs)), keys);
    EXPECT_LE(bf16.angle, 2 * least.angle) << name;
    EXPECT_LT(bf16.angle, 0.7) << name;
    EXPECT_NEAR(bf16.ratio, 1, 0.1) << name;
  }
}

std::vector<ZooCase> trained_cases() {
  std::vector<ZooCase> cases = zoo_cases();
  std::erase_if(cases,
                [](const ZooCase& c) { return c.file == "lesa_resnet50_detqr"; });  // eval only
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenTrainCpu, ::testing::ValuesIn(trained_cases()),
                         [](const auto& test) { return test.param.file; });

}  // namespace
}  // namespace facet::zoo
