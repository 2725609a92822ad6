// The kernels of score_moments and its gradient on the ops' own samples and on larger shapes: every
// instruction set this machine runs, one and several threads, against the float64 oracle.

#include "backends/cpu/kernels/score_moments_plan.h"
#include "tests/cpu_kernels/attention_problem.h"

namespace facet::testing {
namespace {

constexpr TokenOperands kForward{"score_moments", 0, 2, 0, 2};
constexpr TokenOperands kBackward{"score_moments_bwd", 3, 5, 3, 5};

class ScoreMomentsKernel : public OnLoops {
 protected:
  /// In all dtypes, layouts and gaps; three threads give the bits of one. Gradients are dense.
  void check(const TokenOperands& tokens, const Sample& sample) const {
    const cpu::SdpaLoops& loops = cpu::sdpa_loops(*GetParam());
    const auto lower = [&](const Node& node, auto operands, auto results) {
      return cpu::lower_score_moments(node, operands, results, loops);
    };
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      const AttentionProblem problem(tokens, sample, dtype);
      const bool is_map = problem.node->operand(tokens.first).type().rank() == 4;
      for (const char* layout : {"", "acdb"}) {
        if (!is_map && *layout != '\0') continue;
        for (const Gaps gaps : {Gaps::none, Gaps::one_axis}) {
          SCOPED_TRACE(fmt::format("{} {} layout '{}' gaps {}", loops.name, to_string(dtype),
                                   layout, static_cast<int>(gaps)));
          const auto one = run(problem, {lower, layout, gaps, Gaps::none, 1});
          expect_same_bits(one, run(problem, {lower, layout, gaps, Gaps::none, 3}));
          for (std::size_t i = 0; i < one.size(); ++i) {
            const HostTensor& expected = problem.expected.at(fmt::format("g{}", i));
            EXPECT_GT(norm(expected), 0) << i;
            EXPECT_LE(error_of(one[i], expected), one[i].dtype() == DType::f32 ? 2e-6 : 4e-3) << i;
          }
        }
      }
    }
  }

  void check_samples(const TokenOperands& tokens) const {
    int checked = 0;
    for (const Sample& sample : find_op(tokens.op).samples.make()) {
      const AttentionProblem problem(tokens, sample, DType::f32);
      if (!cpu::takes_score_moments(*problem.node)) continue;
      SCOPED_TRACE(describe(find_op(tokens.op), sample));
      check(tokens, sample);
      ++checked;
    }
    EXPECT_GE(checked, 6);
  }
};
INSTANTIATE_TEST_SUITE_P(All, ScoreMomentsKernel, every_loops(), name_of_loops);

TEST_P(ScoreMomentsKernel, TheOpsSamples) { check_samples(kForward); }
TEST_P(ScoreMomentsKernel, TheGradientsSamples) { check_samples(kBackward); }

/// LESA's form: values lie in the same operand, and their gradient is zero here.
TEST_P(ScoreMomentsKernel, LesaOnAMapOf14) {
  const Type qkv = f32({3, 128, 14, 14}), table = f32({391, 16}), moments = f32({3, 2});
  Sample sample{{qkv, qkv, table, table},
                {{"heads", std::int64_t{2}},
                 {"query", Ints{0, 64, 16}},
                 {"key", Ints{16, 64, 16}},
                 {"extras", Strings{"relative_query", "relative_key"}}}};
  check(kForward, sample);
  sample.operands.insert(sample.operands.begin(), 3, moments);
  sample.attributes.set("packed", true);
  check(kBackward, sample);
}

/// More tokens than a chunk has, of which the last is a short one, and fewer than one.
TEST_P(ScoreMomentsKernel, FewQueriesOnManyKeys) {
  for (const std::int64_t queries : {1, 3, 30}) {
    const std::int64_t keys = 75, d = 7;
    for (const std::int64_t axis : {1, -1}) {
      const auto tokens = [axis](std::int64_t count) {
        return axis == 1 ? f32({2, 3 * 7, count}) : f32({2, count, 3 * 7});
      };
      const Type table = f32({queries + keys - 1, d}), moments = f32({3, 3});
      Sample sample{{tokens(queries), tokens(keys), table, table},
                    {{"heads", std::int64_t{3}},
                     {"query", Ints{0, d, d}},
                     {"key", Ints{0, d, d}},
                     {"channel_axis", axis},
                     {"extras", Strings{"relative_query", "relative_key"}}}};
      check(kForward, sample);
      sample.operands.insert(sample.operands.begin(), 3, moments);
      check(kBackward, sample);
    }
  }
}

/// A variance much smaller than the mean's square: f32 sums of squares would lose it.
TEST_P(ScoreMomentsKernel, AVarianceBesideALargeMean) {
  Sample sample{{f32({2, 8, 60}), f32({2, 8, 60}), f32({119, 4})},
                {{"heads", std::int64_t{2}},
                 {"query", Ints{0, 4, 4}},
                 {"key", Ints{0, 4, 4}},
                 {"extras", Strings{"relative_query"}}},
                1.0,
                1.02};
  const AttentionProblem problem(kForward, sample, DType::f32);
  const auto found = run(problem, {[&](const Node& node, auto operands, auto results) {
                                     return cpu::lower_score_moments(node, operands, results,
                                                                     cpu::sdpa_loops(*GetParam()));
                                   },
                                   "", Gaps::none, Gaps::none, 1});
  EXPECT_LE(error_of(found[0], problem.expected.at("g0")), 1e-6);
  // The mean's square is 16, an f32 product of it errs by 1e-6, and so may the difference.
  const double variance = norm(problem.expected.at("g1"));
  EXPECT_LE(error_of(found[1], problem.expected.at("g1")) * variance, 2e-5);
}

}  // namespace
}  // namespace facet::testing
