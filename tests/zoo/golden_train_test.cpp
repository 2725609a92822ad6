#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backends/reference/reference.h"
#include "passes/vector_jacobian.h"
#include "tests/support/fill.h"
#include "tests/support/golden.h"
#include "tests/zoo/cases.h"
#include "zoo/zoo.h"

// Training mode in float64: outputs, the gradients of inputs and of every trainable parameter, and
// the running statistics, against the reference implementations.
namespace facet::zoo {
namespace {

constexpr double kTolerance = 1e-9;
/// Below this part of the largest gradient's norm a gradient is rounding noise, such as that of a
/// bias in front of a batch norm.
constexpr double kNoise = 1e-6;

std::vector<ZooCase> trained_cases() {
  std::vector<ZooCase> cases = zoo_cases();
  std::erase_if(cases,
                [](const ZooCase& c) { return c.file == "lesa_resnet50_detqr"; });  // eval only
  return cases;
}

class GoldenTrain : public ::testing::TestWithParam<ZooCase> {
 protected:
  void SetUp() override {
    const testing::GoldenCase file = testing::read_golden(GetParam().file);
    golden_ = file.train.value();
    const std::int64_t batch = golden_.inputs.at("input").at(0);
    const Graph graph = build(GetParam().model, GetParam().settings).with_symbol("N", batch);
    std::vector<std::string> outputs;
    for (const Output& output : graph.outputs()) outputs.push_back(output.name);
    TensorMap inputs = testing::fill_inputs(graph, batch);
    for (const auto& [name, digest] : golden_.outputs) {
      const std::string cotangent = "cotangent:" + name;
      inputs[cotangent] = testing::uniform(cotangent, digest.shape, -1, 1);
    }
    cotangents_ = inputs;
    found_ =
        evaluate(vector_jacobian_product(graph, outputs), inputs, testing::fill_parameters(graph));
  }

  const HostTensor* find(const std::string& name) const {
    const auto it = found_.find(name);
    return it != found_.end() ? &it->second : nullptr;
  }

  void expect(const std::map<std::string, testing::Digest>& digests,
              const std::string& prefix) const {
    for (const auto& [name, digest] : digests) {
      const HostTensor* tensor = find(prefix + name);
      ASSERT_NE(tensor, nullptr) << prefix << name;
      EXPECT_LE(testing::digest_error(digest, *tensor).worst(), kTolerance) << prefix << name;
    }
  }

  testing::GoldenTrain golden_;
  TensorMap cotangents_, found_;
};

TEST_P(GoldenTrain, Float64AgreesTo1em9) {
  expect(golden_.outputs, "output:");
  expect(golden_.running_statistics, "state:");
  double largest = 0;
  for (const auto* gradients : {&golden_.input_gradients, &golden_.parameter_gradients}) {
    for (const auto& [name, digest] : *gradients) largest = std::max(largest, digest.l2);
  }
  const auto significant = [&](std::map<std::string, testing::Digest> gradients,
                               const char* prefix) {
    std::erase_if(gradients, [&](const auto& entry) {
      if (entry.second.l2 >= kNoise * largest) return false;
      const HostTensor* tensor = find(prefix + entry.first);
      EXPECT_TRUE(tensor != nullptr && testing::l2_norm(*tensor) < kNoise * largest) << entry.first;
      return true;
    });
    return gradients;
  };
  expect(significant(golden_.input_gradients, "input:"), "input:");
  expect(significant(golden_.parameter_gradients, ""), "");
  EXPECT_GT(significant(golden_.parameter_gradients, "").size(),
            golden_.parameter_gradients.size() / 2);

  double scalar = 0;
  for (const auto& [name, digest] : golden_.outputs) {
    const HostTensor& y = found_.at("output:" + name);
    const HostTensor& cotangent = cotangents_.at("cotangent:" + name);
    for (std::int64_t i = 0; i < y.element_count(); ++i) scalar += y.at(i) * cotangent.at(i);
  }
  EXPECT_NEAR(scalar, golden_.scalar, kTolerance * std::fabs(golden_.scalar));
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenTrain, ::testing::ValuesIn(trained_cases()),
                         [](const auto& test) { return test.param.file; });

}  // namespace
}  // namespace facet::zoo
