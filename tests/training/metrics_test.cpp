#include "training/metrics.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;

HostTensor labels_of(const std::vector<std::int64_t>& values) {
  HostTensor labels(DType::i64, {static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), labels.as_mutable<std::int64_t>());
  return labels;
}

TEST(Metrics, CountsLabelsAmongTheLargest) {
  const HostTensor logits = HostTensor::from_floats({4, 3}, {3, 2, 1,     //
                                                             1, 3, 2,     //
                                                             -1, -2, -3,  //
                                                             0, 5, 9});
  const HostTensor labels = labels_of({0, 2, 2, 1});
  EXPECT_EQ(top_k_correct(logits, labels, 1), 1);
  EXPECT_EQ(top_k_correct(logits, labels, 2), 3);
  EXPECT_EQ(top_k_correct(logits, labels, 3), 4);
  EXPECT_EQ(top_k_correct(logits, labels, 5), 4);
  EXPECT_EQ(top_k_correct(logits.cast(DType::bf16), labels, 2), 3);
  EXPECT_EQ(top_k_correct(logits.cast(DType::f64), labels, 2), 3);
}

TEST(Metrics, TiesGoToTheLowerClass) {
  const HostTensor logits = HostTensor::from_floats({4, 4}, std::vector<float>(16, 0.5F));
  const HostTensor labels = labels_of({0, 1, 2, 3});
  for (std::int64_t k = 1; k <= 4; ++k) EXPECT_EQ(top_k_correct(logits, labels, k), k);
}

TEST(Metrics, NothingIsRightWithoutANumberOrALabel) {
  const float nan = std::nanf("");
  const float inf = std::numeric_limits<float>::infinity();
  const HostTensor logits = HostTensor::from_floats({4, 2}, {nan, nan,   //
                                                             1, nan,     //
                                                             inf, -inf,  //
                                                             1, 0});
  EXPECT_EQ(top_k_correct(logits, labels_of({0, 0, 0, 0}), 1), 2);
  EXPECT_EQ(top_k_correct(logits, labels_of({0, 0, 0, 0}), 2), 3);
  EXPECT_EQ(top_k_correct(logits, labels_of({-1, -1, 2, 7}), 2), 0);
  EXPECT_EQ(top_k_correct(HostTensor(DType::f32, {0, 2}), labels_of({}), 1), 0);
}

TEST(Metrics, ShapesAreChecked) {
  const HostTensor logits = HostTensor::from_floats({2, 2}, {1, 2, 3, 4});
  const auto refusal = [&](const HostTensor& labels, std::int64_t k) {
    return error_of([&] { top_k_correct(logits, labels, k); }, ErrorKind::usage);
  };
  EXPECT_THAT(refusal(labels_of({0, 1, 0}), 1), HasSubstr("f32[2, 2] with labels i64[3]"));
  EXPECT_THAT(refusal(HostTensor(DType::i32, {2}), 1), HasSubstr("i32[2]"));
  EXPECT_THAT(refusal(labels_of({0, 1}), 0), HasSubstr("the top 0"));
}

TEST(Metrics, RunningMeanWeighsBatches) {
  RunningMean mean;
  EXPECT_TRUE(mean.empty());
  EXPECT_TRUE(std::isnan(mean.mean()));
  mean.add(1, 64);
  mean.add(4, 16);
  EXPECT_DOUBLE_EQ(mean.mean(), 1.6);
  EXPECT_EQ(mean.weight(), 80);
  mean.reset();
  EXPECT_TRUE(mean.empty());
}

}  // namespace
}  // namespace facet::test
