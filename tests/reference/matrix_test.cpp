#include <gtest/gtest.h>

#include "tests/reference/evaluate_op.h"

namespace facet::testing {
namespace {

using Numbers = std::vector<double>;

TEST(Linear, MultipliesByTheTransposedWeight) {
  const HostTensor x = tensor({2, 3}, {1, 2, 3, 4, 5, 6});
  const HostTensor weight = tensor({2, 3}, {1, 0, -1, 2, 1, 0});
  EXPECT_EQ(evaluate_op("linear", {x, weight}).to_doubles(), (Numbers{-2, 4, -2, 13}));
}

TEST(Linear, KeepsLeadingAxes) {
  const HostTensor x = tensor({2, 1, 2}, {1, 2, 3, 4});
  const HostTensor weight = tensor({3, 2}, {1, 0, 0, 1, 1, 1});
  const HostTensor y = evaluate_op("linear", {x, weight});
  EXPECT_EQ(y.shape(), (std::vector<std::int64_t>{2, 1, 3}));
  EXPECT_EQ(y.to_doubles(), (Numbers{1, 2, 3, 3, 4, 7}));
}

TEST(Linear, EpilogueChannelsAreTheLastAxis) {
  const HostTensor x = tensor({2, 1}, {1, -2});
  const HostTensor weight = tensor({2, 1}, {1, 3});
  // x w^T = (1, 3), (-2, -6); bias (10, 1): (11, 4), (8, -5); slopes (7, 0.5).
  EXPECT_EQ(evaluate_op("linear", {x, weight, tensor({2}, {10, 1}), tensor({2}, {7, 0.5})},
                        {{"epilogue", Strings{"bias", "prelu"}}})
                .to_doubles(),
            (Numbers{11, 4, 8, -2.5}));
}

const HostTensor kA = tensor({2, 3}, {1, 2, 3, 4, 5, 6});
const HostTensor kB = tensor({3, 2}, {1, 0, 2, 1, 0, 3});
const HostTensor kAt = tensor({3, 2}, {1, 4, 2, 5, 3, 6});
const HostTensor kBt = tensor({2, 3}, {1, 2, 0, 0, 1, 3});

TEST(MatMul, TransposesEitherOperand) {
  const Numbers expected{5, 11, 14, 23};
  for (const bool a : {false, true}) {
    for (const bool b : {false, true}) {
      EXPECT_EQ(evaluate_op("matmul", {a ? kAt : kA, b ? kBt : kB},
                            {{"transpose_a", a}, {"transpose_b", b}})
                    .to_doubles(),
                expected)
          << a << b;
    }
  }
}

TEST(MatMul, BroadcastsLeadingAxes) {
  // a [2, 1, 1, 2] x b [3, 2, 1] -> [2, 3, 1, 1].
  const HostTensor a = tensor({2, 1, 1, 2}, {1, 2, 3, 4});
  const HostTensor b = tensor({3, 2, 1}, {1, 0, 0, 1, 1, 1});
  const HostTensor y = evaluate_op("matmul", {a, b});
  EXPECT_EQ(y.shape(), (std::vector<std::int64_t>{2, 3, 1, 1}));
  EXPECT_EQ(y.to_doubles(), (Numbers{1, 2, 3, 3, 4, 7}));
}

TEST(BatchNorm, NormalisesPerChannel) {
  const HostTensor x = tensor({1, 2, 1, 2}, {1, 3, -1, 5});
  const HostTensor y = evaluate_op("batch_norm",
                                   {x, tensor({2}, {2, 3}), tensor({2}, {10, 20}),
                                    tensor({2}, {1, -1}), tensor({2}, {3.75, 8.75})},
                                   {{"epsilon", 0.25}});
  // Deviations 2 and 3: 2 * (0, 2) / 2 + 10 and 3 * (0, 6) / 3 + 20.
  EXPECT_EQ(y.to_doubles(), (Numbers{10, 12, 20, 26}));
}

TEST(BatchNorm, WorksOnMatrices) {
  const HostTensor x = tensor({2, 2}, {1, 2, 3, 4});
  const HostTensor one = tensor({2}, {1, 1});
  EXPECT_EQ(evaluate_op("batch_norm", {x, one, one, tensor({2}, {1, 2}), one}, {{"epsilon", 0.0}})
                .to_doubles(),
            (Numbers{1, 1, 3, 3}));
}

}  // namespace
}  // namespace facet::testing
