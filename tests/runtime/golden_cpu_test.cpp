#include <gtest/gtest.h>

#include <cmath>

#include "runtime/compile.h"
#include "tests/support/device.h"
#include "tests/support/fill.h"
#include "tests/support/golden.h"
#include "tests/zoo/cases.h"
#include "zoo/zoo.h"

namespace facet::zoo {
namespace {

/// Every inference case of the golden files on the CPU, or on the device that FACET_TEST_DEVICE
/// names: as declared and with all passes.
class GoldenCpu : public ::testing::TestWithParam<ZooCase> {
 protected:
  void SetUp() override {
    golden_ = testing::read_golden(GetParam().file);
    graph_ = build(GetParam().model, GetParam().settings);
    weights_ = testing::fill_parameters(graph_);
    inputs_ = testing::fill_inputs(graph_, batch());
  }
  std::int64_t batch() const { return golden_.inputs.at("input").at(0); }

  TensorMap run(const CompileOptions& options) {
    return compile(graph_, weights_, options, batch())->make_context()->run(inputs_);
  }
  CompileOptions with_taps() const {
    CompileOptions options = testing::device_options();
    for (const auto& [name, digest] : golden_.taps) options.taps.push_back(name);
    return options;
  }
  void expect_golden(const TensorMap& found,
                     const std::map<std::string, testing::Digest>& expected) {
    for (const auto& [name, digest] : expected) {
      ASSERT_TRUE(found.contains(name)) << name;
      EXPECT_LE(testing::digest_error(digest, found.at(name)).worst(), 1e-4) << name;
    }
  }

  testing::GoldenCase golden_;
  Graph graph_;
  TensorMap weights_;
  TensorMap inputs_;
};

TEST_P(GoldenCpu, F32WithAllPasses) {
  expect_golden(run(testing::device_options()), golden_.outputs);
}

TEST_P(GoldenCpu, F32TapsWithAllPasses) {
  const TensorMap found = run(with_taps());
  expect_golden(found, golden_.outputs);
  expect_golden(found, golden_.taps);
}

TEST_P(GoldenCpu, F32TapsWithoutPasses) {
  CompileOptions options = with_taps();
  options.optimize = false;
  const TensorMap found = run(options);
  expect_golden(found, golden_.outputs);
  expect_golden(found, golden_.taps);
}

double cosine(const HostTensor& a, const HostTensor& b) {
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (std::int64_t i = 0; i < a.element_count(); ++i) {
    ab += a.at(i) * b.at(i);
    aa += a.at(i) * a.at(i);
    bb += b.at(i) * b.at(i);
  }
  return ab / std::sqrt(aa * bb);
}

std::int64_t largest(const HostTensor& row) {
  std::int64_t best = 0;
  for (std::int64_t i = 1; i < row.element_count(); ++i) {
    if (row.at(i) > row.at(best)) best = i;
  }
  return best;
}

/// Calls check(f32 row, bf16 row) for every image of the outputs whose names contain `part`.
template <class Check>
void for_each_row(const TensorMap& exact, const TensorMap& found, std::string_view part,
                  const Check& check) {
  for (const auto& [name, tensor] : exact) {
    if (name.find(part) == std::string::npos) continue;
    EXPECT_EQ(found.at(name).dtype(), DType::f32);
    const std::int64_t width = tensor.shape().back();
    for (std::int64_t row = 0; row < tensor.shape()[0]; ++row) {
      SCOPED_TRACE(name + " row " + std::to_string(row));
      const auto slice = [&](const HostTensor& t) {
        return HostTensor(t.dtype(), {width}, t.data() + row * width * size_of(t.dtype()), nullptr);
      };
      check(slice(tensor), slice(found.at(name)));
    }
  }
}

// A classifier has no embedding; its logits say the same class.
class ClassifierCpu : public GoldenCpu {};

TEST_P(ClassifierCpu, Bf16LogitsNameTheSameClass) {
  int rows = 0;
  for_each_row(run(testing::device_options()), run(testing::device_options(Precision::bf16)),
               "logits", [&](const HostTensor& exact, const HostTensor& low) {
                 EXPECT_GE(cosine(exact, low), 0.998);
                 EXPECT_EQ(largest(exact), largest(low));
                 ++rows;
               });
  EXPECT_EQ(rows, batch());
}

TEST_P(GoldenCpu, Bf16EmbeddingsPointTheSameWay) {
  const TensorMap exact = run(testing::device_options());
  const TensorMap found = run(testing::device_options(Precision::bf16));
  for_each_row(exact, found, "embedding",
               [](const HostTensor& a, const HostTensor& b) { EXPECT_GE(cosine(a, b), 0.999); });
}

std::vector<ZooCase> classifier_cases() {
  std::vector<ZooCase> cases = zoo_cases();
  std::erase_if(cases, [](const ZooCase& c) { return !c.model.starts_with("lesa"); });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Zoo, ClassifierCpu, ::testing::ValuesIn(classifier_cases()),
                         [](const auto& test) { return test.param.file; });
INSTANTIATE_TEST_SUITE_P(Zoo, GoldenCpu, ::testing::ValuesIn(zoo_cases()),
                         [](const auto& test) { return test.param.file; });

}  // namespace
}  // namespace facet::zoo
