// Resizing in every layout, dtype and arrangement.

#include <gtest/gtest.h>

#include "tests/cpu_kernels/harness.h"

namespace facet::testing {
namespace {

Type f32(Shape shape) { return Type{DType::f32, std::move(shape), {}}; }

TEST(Resize, FollowsTheOracle) {
  const std::string linear = "linear";
  check_everywhere("resize",
                   {{{f32({2, 48, 14, 13})},
                     {{"sizes", Ints{0, 0, 28, 26}}, {"coordinates", std::string("asymmetric")}}},
                    {{f32({2, 48, 14, 13})}, {{"sizes", Ints{0, 0, 28, 39}}, {"mode", linear}}},
                    {{f32({2, 20, 30, 31})}, {{"sizes", Ints{0, 0, 15, 15}}, {"mode", linear}}},
                    {{f32({2, 3, 6, 5})}, {{"sizes", Ints{0, 7, 3, 11}}, {"mode", linear}}},
                    {{f32({2, 3, 6, 5})}, {{"sizes", Ints{4, 7, 3, 11}}, {"mode", linear}}},
                    {{f32({2, 3, 6, 5})}, {{"sizes", Ints{0, 0, 6, 5}}}},
                    {{f32({7})}, {{"sizes", Ints{16}}, {"mode", linear}}}});
}

TEST(Resize, GradientFollowsTheOracle) {
  check_everywhere("resize_bwd", {{{f32({2, 48, 28, 26})},
                                   {{"sizes", Ints{0, 0, 28, 26}},
                                    {"extents", Ints{0, 0, 14, 13}},
                                    {"mode", std::string("linear")}}}});
}

}  // namespace
}  // namespace facet::testing
