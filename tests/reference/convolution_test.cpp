#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "tests/reference/evaluate_op.h"
#include "tests/support/fill.h"
#include "tests/support/op_samples.h"

namespace facet::testing {
namespace {

struct ConvCase {
  std::vector<std::int64_t> x, weight;
  Ints strides, pads, dilations;
  std::int64_t groups;
};

/// Cross-correlation written as its seven nested sums.
HostTensor direct_conv(const HostTensor& x, const HostTensor& weight, const ConvCase& c) {
  const auto extent = [&](std::size_t i) {
    const std::int64_t span = c.dilations[i] * (c.weight[i + 2] - 1) + 1;
    return (c.x[i + 2] + c.pads[i] + c.pads[i + 2] - span) / c.strides[i] + 1;
  };
  const std::int64_t outputs = c.weight[0];
  const std::int64_t height = extent(0);
  const std::int64_t width = extent(1);
  HostTensor y(DType::f64, {c.x[0], outputs, height, width});
  double* to = y.as_mutable<double>();
  const std::int64_t per_group = c.weight[1];
  for (std::int64_t n = 0; n < c.x[0]; ++n)
    for (std::int64_t o = 0; o < outputs; ++o)
      for (std::int64_t i = 0; i < height; ++i)
        for (std::int64_t j = 0; j < width; ++j, ++to)
          for (std::int64_t k = 0; k < per_group; ++k)
            for (std::int64_t p = 0; p < c.weight[2]; ++p)
              for (std::int64_t q = 0; q < c.weight[3]; ++q) {
                const std::int64_t h = i * c.strides[0] + p * c.dilations[0] - c.pads[0];
                const std::int64_t w = j * c.strides[1] + q * c.dilations[1] - c.pads[1];
                if (h < 0 || w < 0 || h >= c.x[2] || w >= c.x[3]) continue;
                const std::int64_t channel = o / (outputs / c.groups) * per_group + k;
                *to += x.at(((n * c.x[1] + channel) * c.x[2] + h) * c.x[3] + w) *
                       weight.at(((o * per_group + k) * c.weight[2] + p) * c.weight[3] + q);
              }
  return y;
}

class ConvTest : public ::testing::TestWithParam<ConvCase> {};

TEST_P(ConvTest, EqualsTheNestedSums) {
  const ConvCase& c = GetParam();
  const HostTensor x = uniform("x", c.x, -1, 1);
  const HostTensor weight = uniform("weight", c.weight, -1, 1);
  const HostTensor expected = direct_conv(x, weight, c);
  const HostTensor actual = evaluate_op(
      "conv", {x, weight},
      {{"strides", c.strides}, {"pads", c.pads}, {"dilations", c.dilations}, {"groups", c.groups}});
  EXPECT_LT(max_difference(actual, expected), 1e-13);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ConvTest,
    ::testing::Values(ConvCase{{2, 3, 7, 6}, {4, 3, 1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1},
                      ConvCase{{2, 3, 7, 6}, {4, 3, 3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1},
                      ConvCase{{1, 3, 9, 8}, {4, 3, 3, 2}, {2, 3}, {1, 0, 2, 1}, {1, 1}, 1},
                      ConvCase{{1, 2, 9, 9}, {3, 2, 3, 3}, {1, 2}, {2, 3, 2, 1}, {2, 3}, 1},
                      ConvCase{{2, 6, 5, 5}, {4, 3, 3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 2},
                      ConvCase{{2, 6, 5, 5}, {6, 1, 3, 3}, {2, 1}, {0, 1, 0, 1}, {1, 1}, 6},
                      ConvCase{{2, 4, 5, 5}, {8, 1, 3, 3}, {1, 1}, {1, 1, 1, 1}, {2, 2}, 4}),
    [](const auto& test) {
      return fmt::format("{}_by_{}", fmt::join(test.param.x, "x"),
                         fmt::join(test.param.weight, "x"));
    });

// x [1, 1, 1, 2] = (1, -2) through weight [2, 1, 1, 1] = (1, -3): channel 0 is (1, -2), 1 is (-3,
// 6).
const HostTensor kX = tensor({1, 1, 1, 2}, {1, -2});
const HostTensor kWeight = tensor({2, 1, 1, 1}, {1, -3});

std::vector<double> with_epilogue(const Strings& epilogue, const std::vector<HostTensor>& extras) {
  std::vector<HostTensor> operands{kX, kWeight};
  operands.insert(operands.end(), extras.begin(), extras.end());
  return evaluate_op("conv", operands, {{"epilogue", epilogue}}).to_doubles();
}

TEST(ConvEpilogue, BiasRunsAlongChannels) {
  EXPECT_EQ(with_epilogue({"bias"}, {tensor({2}, {10, 20})}), (std::vector<double>{11, 8, 17, 26}));
}

TEST(ConvEpilogue, EntriesApplyInOrderAndReadTheirOperandsInOrder) {
  const HostTensor bias = tensor({2}, {1, -1});
  const HostTensor residual = tensor({1, 2, 1, 2}, {0.5, 0.5, 0.5, 0.5});
  // bias: (2, -1, -4, 5); add: (2.5, -0.5, -3.5, 5.5); relu.
  EXPECT_EQ(with_epilogue({"bias", "add", "relu"}, {bias, residual}),
            (std::vector<double>{2.5, 0, 0, 5.5}));
  // bias; relu: (2, 0, 0, 5); add.
  EXPECT_EQ(with_epilogue({"bias", "relu", "add"}, {bias, residual}),
            (std::vector<double>{2.5, 0.5, 0.5, 5.5}));
}

TEST(ConvEpilogue, PreluTakesASlopePerChannelOrOne) {
  EXPECT_EQ(with_epilogue({"prelu"}, {tensor({2}, {0.5, 0.25})}),
            (std::vector<double>{1, -1, -0.75, 6}));
  EXPECT_EQ(with_epilogue({"prelu"}, {tensor({1}, {0.5})}), (std::vector<double>{1, -1, -1.5, 6}));
}

TEST(ConvEpilogue, MulBroadcasts) {
  EXPECT_EQ(with_epilogue({"mul"}, {tensor({1, 2, 1, 1}, {2, 3})}),
            (std::vector<double>{2, -4, -9, 18}));
  EXPECT_EQ(with_epilogue({"mul"}, {tensor({1, 1, 1, 2}, {2, 3})}),
            (std::vector<double>{2, -6, -6, 18}));
}

TEST(ConvEpilogue, SigmoidReadsNoOperand) {
  const std::vector<double> y = with_epilogue({"sigmoid"}, {});
  EXPECT_DOUBLE_EQ(y[0], 0.7310585786300049);
  EXPECT_DOUBLE_EQ(y[1], 0.11920292202211755);
}

}  // namespace
}  // namespace facet::testing
