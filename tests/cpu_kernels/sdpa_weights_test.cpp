// Weights that an sdpa keeps: every instruction set this machine runs, against the float64 oracle.
// That the gradient reads them is one of the samples of sdpa_bwd_test.cpp.

#include "backends/cpu/kernels/sdpa_plan.h"
#include "tests/cpu_kernels/attention_problem.h"

namespace facet::testing {
namespace {

constexpr TokenOperands kTokens{"sdpa", 0, 3, 0, 3};

class SdpaWeights : public OnLoops {
 protected:
  void check(Sample sample) const {
    const cpu::SdpaLoops& loops = cpu::sdpa_loops(*GetParam());
    const auto lower = [&](const Node& node, auto operands, auto results) {
      return cpu::lower_sdpa(node, operands, results, loops);
    };
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const Gaps gaps : {Gaps::none, Gaps::one_axis}) {
        SCOPED_TRACE(
            fmt::format("{} {} gaps {}", loops.name, to_string(dtype), static_cast<int>(gaps)));
        sample.attributes.set("weights", true);
        const AttentionProblem keeping(kTokens, sample, dtype);
        const auto one = run(keeping, {lower, "", gaps, gaps, 1});
        expect_same_bits(one, run(keeping, {lower, "", gaps, gaps, 3}));
        ASSERT_EQ(one.size(), 2u);
        for (std::size_t i = 0; i < 2; ++i) {
          EXPECT_LE(error_of(one[i], keeping.expected.at(fmt::format("g{}", i))),
                    dtype == DType::f32 ? 1e-6 : 8e-3)
              << "result " << i;
        }
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(All, SdpaWeights, every_loops(), name_of_loops);

TEST_P(SdpaWeights, OfLesaOnAMap) {
  const Type map = f32({2, 2 * 64, 5, 7}), table = f32({69, 16});
  check({{map, map, map, f32({3, 2}), table, table, f32({69, 32})},
         {{"heads", std::int64_t{2}},
          {"query", Ints{0, 64, 16}},
          {"key", Ints{16, 64, 16}},
          {"value", Ints{32, 64, 32}},
          {"interleaved", true},
          {"extras", Strings{"score_scale", "relative_query", "relative_key", "relative_value"}}}});
}

TEST_P(SdpaWeights, OfFewQueriesOnManyKeys) {
  check({{f32({2, 3, 8}), f32({2, 37, 8}), f32({2, 37, 12}), f32({2, 1, 1, 37})},
         {{"heads", std::int64_t{2}},
          {"query", Ints{0, 4, 4}},
          {"key", Ints{0, 4, 4}},
          {"value", Ints{0, 6, 6}},
          {"channel_axis", std::int64_t{-1}},
          {"extras", Strings{"bias"}}}});
}

}  // namespace
}  // namespace facet::testing
