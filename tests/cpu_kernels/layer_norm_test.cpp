// layer_norm in every layout, dtype and arrangement.

#include <gtest/gtest.h>

#include "tests/cpu_kernels/harness.h"

namespace facet::testing {
namespace {

Type f32(Shape shape) { return Type{DType::f32, std::move(shape), {}}; }

TEST(LayerNorm, FollowsTheOracle) {
  check_everywhere("layer_norm",
                   {{{f32({2, 49, 192}), f32({192}), f32({192})}, {}, -3, 5},
                    {{f32({1, 1, 2, 3, 4}), f32({1, 2, 3, 4})}, {{"axis", std::int64_t{1}}}},
                    {{f32({7, 1}), f32({1})}, {}}},
                   4e-6);
}

/// A mean far from zero must not cost the variance its digits.
TEST(LayerNorm, TakesTheMeanOffFirst) {
  const Problem problem(find_op("layer_norm"), {{f32({3, 256})}, {}, 999, 1001}, DType::f32,
                        DType::f32);
  expect_like_oracle(problem, {}, 1e-3);
}

}  // namespace
}  // namespace facet::testing
