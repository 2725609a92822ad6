// The tests' own tools: a wrong fill or digest would make every golden test meaningless.

#include "tests/support/fill.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/golden.h"

namespace facet::testing {
namespace {

TEST(Fill, EqualsAnIndependentImplementation) {
  const HostTensor x = fill_input("input", {1, 101});
  EXPECT_EQ(x.at(0), -0.8043633699417114);
  EXPECT_EQ(x.at(1), -0.705042839050293);
  EXPECT_EQ(x.at(2), 0.14816880226135254);
  EXPECT_EQ(x.at(100), 0.2862260341644287);
}

TEST(Fill, ParametersFollowTheirRoles) {
  Graph graph;
  const auto add = [&](const char* key, const char* type, ParameterRole role) {
    graph.parameters().push_back({key, parse_type(type), role, {}, true, {}});
  };
  add("conv1.weight", "f32[4, 3, 3, 3]", ParameterRole::weight);
  add("bn1.weight", "f32[4]", ParameterRole::bn_weight);
  add("bn1.running_var", "f32[4]", ParameterRole::running_var);
  add("bn1.num_batches_tracked", "i64[]", ParameterRole::batches_tracked);
  add("prelu.weight", "f32[4]", ParameterRole::prelu_slope);
  add("index", "i64[2]", ParameterRole::other);
  graph.parameters().back().fixed = HostTensor::from_doubles({2}, {3, 4}).cast(DType::i64);
  const TensorMap filled = fill_parameters(graph);
  ASSERT_EQ(filled.size(), 6u);
  EXPECT_EQ(filled.at("conv1.weight").at(0), 0.04249706119298935);
  EXPECT_EQ(filled.at("conv1.weight").at(5), -0.04924993962049484);
  EXPECT_EQ(filled.at("bn1.weight").at(3), 0.581229567527771);
  EXPECT_EQ(filled.at("bn1.running_var").at(1), 0.9848067164421082);
  EXPECT_EQ(filled.at("prelu.weight").at(2), 0.28518420457839966);
  EXPECT_EQ(filled.at("bn1.num_batches_tracked").dtype(), DType::i64);
  EXPECT_EQ(filled.at("bn1.num_batches_tracked").at(0), 0);
  EXPECT_EQ(filled.at("index").at(1), 4);
}

const Digest kDigest{{2, 2}, 5, 1.25, {0, 3}, {3, 0}};

TEST(DigestError, MeasuresSamplesAndNorm) {
  const HostTensor same = HostTensor::from_doubles({2, 2}, {3, 4, 0, 0});
  EXPECT_EQ(digest_error(kDigest, same).worst(), 0);
  // rms is 5 / 2; the samples differ by 0.5 and 0.
  const HostTensor other = HostTensor::from_doubles({2, 2}, {3.5, 4, 0, 0});
  EXPECT_NEAR(digest_error(kDigest, other).samples, std::sqrt(0.125) / 2.5, 1e-15);
  EXPECT_NEAR(digest_error(kDigest, other).l2, (std::sqrt(28.25) - 5) / 5, 1e-15);
}

TEST(DigestError, SeesErrorsBetweenTheSamples) {
  const HostTensor other = HostTensor::from_doubles({2, 2}, {3, 5, 0, 0});
  EXPECT_EQ(digest_error(kDigest, other).samples, 0);
  EXPECT_NEAR(digest_error(kDigest, other).worst(), (std::sqrt(34.0) - 5) / 5, 1e-15);
}

TEST(DigestError, WrongShapesAndNaNAreInfinitelyWrong) {
  const HostTensor flat = HostTensor::from_doubles({4}, {3, 4, 0, 0});
  EXPECT_TRUE(std::isinf(digest_error(kDigest, flat).worst()));
  const HostTensor nan =
      HostTensor::from_doubles({2, 2}, {3, std::numeric_limits<double>::quiet_NaN(), 0, 0});
  EXPECT_TRUE(std::isinf(digest_error(kDigest, nan).worst()));
}

TEST(Golden, ReadsACase) {
  const GoldenCase golden = read_golden("arcface_iresnet18");
  EXPECT_EQ(golden.name, "arcface_iresnet18");
  EXPECT_EQ(golden.parameters, 24025600);
  EXPECT_EQ(golden.state_dict.at(0), (GoldenParameter{"conv1.weight", {64, 3, 3, 3}, "float32"}));
  EXPECT_EQ(golden.inputs.at("input"), (std::vector<std::int64_t>{2, 3, 112, 112}));
  EXPECT_EQ(golden.taps.size(), 4u);
  EXPECT_EQ(golden.outputs.at("embedding").shape, (std::vector<std::int64_t>{2, 512}));
  EXPECT_EQ(golden.outputs.at("embedding").index.size(),
            golden.outputs.at("embedding").value.size());
}

}  // namespace
}  // namespace facet::testing
