#include <gtest/gtest.h>

#include <cmath>

#include "tests/reference/evaluate_op.h"
#include "tests/support/fill.h"
#include "tests/support/op_samples.h"

// Gradients against their nested sums or numbers by hand; tests/passes checks all of them
// against differences of the forward ops.
namespace facet::testing {
namespace {

using Numbers = std::vector<double>;
using Extents = std::vector<std::int64_t>;

/// Calls visit(place in dy, in x, in weight) for every product of the convolution.
template <class Visit>
void for_each_product(const Extents& dy, const Extents& x, const Extents& weight,
                      const Attributes& a, Visit visit) {
  const Ints &strides = a.ints("strides"), &pads = a.ints("pads"), &dilations = a.ints("dilations");
  const std::int64_t per_group = dy[1] / a.integer("groups");
  std::int64_t place = 0;
  for (std::int64_t n = 0; n < dy[0]; ++n)
    for (std::int64_t o = 0; o < dy[1]; ++o)
      for (std::int64_t i = 0; i < dy[2]; ++i)
        for (std::int64_t j = 0; j < dy[3]; ++j, ++place)
          for (std::int64_t k = 0; k < weight[1]; ++k)
            for (std::int64_t p = 0; p < weight[2]; ++p)
              for (std::int64_t q = 0; q < weight[3]; ++q) {
                const std::int64_t h = i * strides[0] + p * dilations[0] - pads[0];
                const std::int64_t w = j * strides[1] + q * dilations[1] - pads[1];
                if (h < 0 || w < 0 || h >= x[2] || w >= x[3]) continue;
                const std::int64_t channel = o / per_group * weight[1] + k;
                visit(place, ((n * x[1] + channel) * x[2] + h) * x[3] + w,
                      ((o * weight[1] + k) * weight[2] + p) * weight[3] + q);
              }
}

TEST(ConvBwdData, EqualsTheNestedSums) {
  for (const Sample& sample : find_op("conv_bwd_data").samples.make()) {
    SCOPED_TRACE(describe(find_op("conv_bwd_data"), sample));
    const HostTensor dy = uniform("dy", static_extents(sample.operands[0].shape), -1, 1);
    const HostTensor weight = uniform("weight", static_extents(sample.operands[1].shape), -1, 1);
    const HostTensor dx = evaluate_op("conv_bwd_data", {dy, weight}, sample.attributes);
    HostTensor expected(DType::f64, dx.shape());
    for_each_product(dy.shape(), dx.shape(), weight.shape(), sample.attributes,
                     [&](std::int64_t y, std::int64_t x, std::int64_t w) {
                       expected.as_mutable<double>()[x] += dy.at(y) * weight.at(w);
                     });
    EXPECT_LT(max_difference(dx, expected), 1e-12);
  }
}

TEST(ConvBwdWeights, EqualsTheNestedSums) {
  for (const Sample& sample : find_op("conv_bwd_weights").samples.make()) {
    SCOPED_TRACE(describe(find_op("conv_bwd_weights"), sample));
    const HostTensor dy = uniform("dy", static_extents(sample.operands[0].shape), -1, 1);
    const HostTensor x = uniform("x", static_extents(sample.operands[1].shape), -1, 1);
    const auto found = evaluate_results("conv_bwd_weights", {dy, x}, sample.attributes);
    HostTensor dweight(DType::f64, found[0].shape());
    for_each_product(dy.shape(), x.shape(), dweight.shape(), sample.attributes,
                     [&](std::int64_t y, std::int64_t i, std::int64_t w) {
                       dweight.as_mutable<double>()[w] += dy.at(y) * x.at(i);
                     });
    EXPECT_LT(max_difference(found[0], dweight), 1e-12);
    ASSERT_EQ(found.size(), sample.attributes.boolean("bias") ? 2U : 1U);
    if (found.size() == 1) continue;
    HostTensor dbias(DType::f64, {dy.shape()[1]});
    const std::int64_t plane = dy.shape()[2] * dy.shape()[3];
    for (std::int64_t i = 0; i < dy.element_count(); ++i) {
      dbias.as_mutable<double>()[i / plane % dy.shape()[1]] += dy.at(i);
    }
    EXPECT_LT(max_difference(found[1], dbias), 1e-12);
  }
}

// dy = ((1, 2), (3, 4)), weight [2, 3] = ((1, 0, -1), (2, 5, 0)), x = ((1, 2, 3), (-1, 0, 1)).
TEST(LinearBwd, KnownValues) {
  const HostTensor dy = tensor({2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(evaluate_op("linear_bwd_data", {dy, tensor({2, 3}, {1, 0, -1, 2, 5, 0})}).to_doubles(),
            (Numbers{5, 10, -1, 11, 20, -3}));
  const auto found = evaluate_results("linear_bwd_weights",
                                      {dy, tensor({2, 3}, {1, 2, 3, -1, 0, 1})}, {{"bias", true}});
  EXPECT_EQ(found.at(0).to_doubles(), (Numbers{-2, 2, 6, -2, 4, 10}));
  EXPECT_EQ(found.at(1).to_doubles(), (Numbers{4, 6}));
}

TEST(LinearBwd, AllLeadingAxesAreRows) {
  const HostTensor dy = tensor({2, 1, 2}, {1, 2, 3, 4});
  const HostTensor dw =
      evaluate_op("linear_bwd_weights", {dy, tensor({2, 1, 3}, {1, 2, 3, -1, 0, 1})});
  EXPECT_EQ(dw.to_doubles(), (Numbers{-2, 2, 6, -2, 4, 10}));
}

const Attributes kOverlapping = {
    {"kernel", Ints{1, 3}}, {"strides", Ints{1, 1}}, {"pads", Ints{0, 1, 0, 1}}};

TEST(MaxPoolBwd, TheFirstLargestElementOfEachWindowTakesAll) {
  // windows: (5, 5), (5, 5, 2), (5, 2, 7), (2, 7)
  const HostTensor x = tensor({1, 1, 1, 4}, {5, 5, 2, 7});
  const HostTensor dy = tensor({1, 1, 1, 4}, {1, 10, 100, 1000});
  EXPECT_EQ(evaluate_op("max_pool_bwd", {dy, x}, kOverlapping).to_doubles(),
            (Numbers{11, 0, 0, 1100}));
}

TEST(MaxPoolBwd, PaddingNeverWins) {
  const HostTensor x = tensor({1, 1, 1, 2}, {-5, -6});
  const HostTensor dy = tensor({1, 1, 1, 2}, {1, 10});
  EXPECT_EQ(evaluate_op("max_pool_bwd", {dy, x}, kOverlapping).to_doubles(), (Numbers{11, 0}));
}

TEST(AvgPoolBwd, SpreadsOverTheKernelsArea) {
  Attributes attributes = kOverlapping;
  attributes.set("height", std::int64_t{1});
  attributes.set("width", std::int64_t{4});
  const HostTensor dy = tensor({1, 1, 1, 4}, {3, 30, 300, 3000});
  EXPECT_EQ(evaluate_op("avg_pool_bwd", {dy}, attributes).to_doubles(),
            (Numbers{11, 111, 1110, 1100}));
}

TEST(ReduceMaxBwd, TheFirstLargestElementTakesAll) {
  const HostTensor x = tensor({2, 3}, {1, 4, 4, -1, -2, -3});
  EXPECT_EQ(evaluate_op("reduce_max_bwd", {tensor({2, 1}, {10, 20}), x}, {{"axes", Ints{1}}})
                .to_doubles(),
            (Numbers{0, 10, 0, 20, 0, 0}));
  EXPECT_EQ(evaluate_op("reduce_max_bwd", {tensor({3}, {1, 2, 3}), x},
                        {{"axes", Ints{0}}, {"keepdims", false}})
                .to_doubles(),
            (Numbers{1, 2, 3, 0, 0, 0}));
}

TEST(SoftmaxBwd, KnownValues) {
  // dot products: 0.5 * 2 + 0.5 * 4 = 3 and 0.25 * 4 + 0.75 * 0 = 1
  const HostTensor dy = tensor({2, 2}, {2, 4, 4, 0});
  const HostTensor y = tensor({2, 2}, {0.5, 0.5, 0.25, 0.75});
  EXPECT_EQ(evaluate_op("softmax_bwd", {dy, y}).to_doubles(), (Numbers{-0.5, 0.5, 0.75, -0.75}));
  // along axis 0: dot products 0.5 * 2 + 0.25 * 4 = 2 and 0.5 * 4 = 2
  EXPECT_EQ(evaluate_op("softmax_bwd", {dy, y}, {{"axis", std::int64_t{0}}}).to_doubles(),
            (Numbers{0, 1, 0.5, -1.5}));
}

TEST(PreluBwd, KnownValues) {
  const HostTensor dy = tensor({2, 2, 1}, {1, 2, 3, 4});
  const HostTensor x = tensor({2, 2, 1}, {-1, 0, 5, -2});
  auto found = evaluate_results("prelu_bwd", {dy, x, tensor({2}, {0.5, 0.25})});
  EXPECT_EQ(found.at(0).to_doubles(), (Numbers{0.5, 0.5, 3, 1}));  // zero counts as negative
  EXPECT_EQ(found.at(1).to_doubles(), (Numbers{-1, -8}));
  found = evaluate_results("prelu_bwd", {dy, x, tensor({1}, {0.5})});
  EXPECT_EQ(found.at(0).to_doubles(), (Numbers{0.5, 1, 3, 2}));
  EXPECT_EQ(found.at(1).to_doubles(), (Numbers{-9}));
}

// Channel 0 is (1, 3, 5, 7): mean 4, variance 5; channel 1 is (0, 0, 2, 2): mean 1, variance 1.
const HostTensor kImages = tensor({2, 2, 2}, {1, 3, 0, 0, 5, 7, 2, 2});

TEST(BatchNormTrain, KnownValues) {
  const auto found =
      evaluate_results("batch_norm_train",
                       {kImages, tensor({2}, {3, 2}), tensor({2}, {0.5, -1}), tensor({2}, {10, 20}),
                        tensor({2}, {1, 2})},
                       {{"epsilon", 4.0}, {"momentum", 0.25}});  // deviations 3 and sqrt(5)
  ASSERT_EQ(found.size(), 5U);
  const double r = 2 / std::sqrt(5.0);
  const Numbers y{-2.5, -0.5, -1 - r, -1 - r, 1.5, 3.5, -1 + r, -1 + r};
  for (std::size_t i = 0; i < y.size(); ++i) {
    EXPECT_NEAR(found[0].at(static_cast<std::int64_t>(i)), y[i], 1e-15) << i;
  }
  EXPECT_EQ(found[1].to_doubles(), (Numbers{4, 1}));
  EXPECT_EQ(found[2].to_doubles(), (Numbers{1.0 / 3, 1 / std::sqrt(5.0)}));
  EXPECT_EQ(found[3].to_doubles(), (Numbers{8.5, 15.25}));
  EXPECT_NEAR(found[4].at(0), 0.75 + 0.25 * 20 / 3, 1e-15);  // unbiased: n = 4
  EXPECT_NEAR(found[4].at(1), 1.5 + 0.25 * 4 / 3, 1e-15);
}

TEST(BatchNormBwd, KnownValues) {
  // One channel: x = (-1, 1, -1, 1), so mean 0 and inv_std 1 give xhat = x.
  // dy = (1, 2, 3, 6): sum 12, sum of dy * xhat = 4; dx = 3 * (dy - 3 - xhat).
  const auto found = evaluate_results("batch_norm_bwd",
                                      {tensor({4, 1}, {1, 2, 3, 6}), tensor({4, 1}, {-1, 1, -1, 1}),
                                       tensor({1}, {3}), tensor({1}, {0}), tensor({1}, {1})});
  EXPECT_EQ(found.at(0).to_doubles(), (Numbers{-3, -6, 3, 6}));
  EXPECT_EQ(found.at(1).to_doubles(), (Numbers{4}));
  EXPECT_EQ(found.at(2).to_doubles(), (Numbers{12}));
}

}  // namespace
}  // namespace facet::testing
