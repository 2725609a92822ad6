// The kernel of attention's gradient on the op's own samples and on larger shapes: every
// instruction set this machine runs, one and several threads, against the float64 oracle.

#include "backends/cpu/kernels/sdpa_bwd_plan.h"
#include "tests/cpu_kernels/attention_problem.h"

namespace facet::testing {
namespace {

constexpr TokenOperands kTokens{"sdpa_bwd", 1, 4, 0, 4};

class SdpaBwdKernel : public OnLoops {
 protected:
  /// In all dtypes, layouts and gaps; three threads give the bits of one.
  void check(const Sample& sample) const {
    const cpu::SdpaLoops& loops = cpu::sdpa_loops(*GetParam());
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const AttentionProblem problem(kTokens, sample, dtype);
      const bool is_map = problem.node->operand(1).type().rank() == 4;
      for (const char* layout : {"", "acdb"}) {
        if (!is_map && *layout != '\0') continue;
        for (const Gaps gaps : {Gaps::none, Gaps::one_axis}) {
          SCOPED_TRACE(fmt::format("{} {} layout '{}' gaps {}", loops.name, to_string(dtype),
                                   layout, static_cast<int>(gaps)));
          const auto lower = [&](const Node& node, auto operands, auto results) {
            return cpu::lower_sdpa_bwd(node, operands, results, loops);
          };
          const auto one = run(problem, {lower, layout, gaps, gaps, 1});
          expect_same_bits(one, run(problem, {lower, layout, gaps, gaps, 3}));
          for (std::size_t i = 0; i < one.size(); ++i) {
            const HostTensor& expected = problem.expected.at(fmt::format("g{}", i));
            EXPECT_GT(norm(expected), 0) << i;
            // Results behind q, k and v are f32 sums; with pairs of what is rounded on its way.
            const bool is_rounded = one[i].dtype() == DType::bf16 ||
                                    (dtype == DType::bf16 && loops.pair_product != nullptr);
            // What scales the scores gets a sum over all of them, whose terms cancel each other.
            const int scale = sdpa_bwd_of(*problem.node).score_scale;
            const double most = static_cast<int>(i) == scale ? 8e-3 : 4e-3;
            EXPECT_LE(error_of(one[i], expected), is_rounded ? most : 1e-5) << i;
          }
        }
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(All, SdpaBwdKernel, every_loops(), name_of_loops);

TEST_P(SdpaBwdKernel, TheOpsSamples) {
  int checked = 0;
  for (const Sample& sample : find_op("sdpa_bwd").samples.make()) {
    if (!cpu::takes_sdpa_bwd(*AttentionProblem(kTokens, sample, DType::f32).node)) continue;
    if (sample.operands[1].shape.back() == Dim(1)) continue;  // one key: no gradient of scores
    SCOPED_TRACE(describe(find_op("sdpa_bwd"), sample));
    check(sample);
    ++checked;
  }
  EXPECT_GE(checked, 10);
}

/// LESA's form: three scaled terms, places of the value, content and places apart.
Sample lesa(std::int64_t images, std::int64_t height, std::int64_t width, std::int64_t heads,
            std::int64_t d, std::int64_t dv) {
  const Type qkv = f32({images, heads * (2 * d + dv), height, width});
  const std::int64_t distances = 2 * height * width - 1, step = 2 * d + dv;
  return {{f32({images, 2 * heads * dv, height, width}), qkv, qkv, qkv, f32({3, heads}),
           f32({distances, d}), f32({distances, d}), f32({distances, dv})},
          {{"heads", heads},
           {"query", Ints{0, step, d}},
           {"key", Ints{d, step, d}},
           {"value", Ints{2 * d, step, dv}},
           {"interleaved", true},
           {"packed", true},
           {"extras", Strings{"score_scale", "relative_query", "relative_key", "relative_value"}}}};
}

TEST_P(SdpaBwdKernel, LesaOnAMapOf14) { check(lesa(2, 14, 14, 2, 16, 32)); }
TEST_P(SdpaBwdKernel, LesaWithKeysThatFillNoPanel) { check(lesa(2, 5, 7, 3, 5, 17)); }

/// So many keys that a section holds a part of the queries only.
TEST_P(SdpaBwdKernel, SectionsOfQueries) { check(lesa(1, 20, 21, 1, 6, 10)); }

TEST_P(SdpaBwdKernel, TablesOfRowsAndColumns) {
  for (const auto& [height, width] : {std::pair{7, 5}, {3, 21}, {17, 2}}) {
    Sample sample = lesa(2, height, width, 2, 8, 16);
    sample.attributes.set("interleaved", false);
    sample.attributes.set("map", Ints{height, width});
    sample.attributes.set("extras", Strings{"score_scale", "relative_height", "relative_width"});
    sample.operands.resize(4);
    sample.operands[0] = f32({2, 32, height, width});
    for (const std::int64_t rows :
         {std::int64_t{2}, std::int64_t{2 * height - 1}, std::int64_t{2 * width - 1}}) {
      sample.operands.push_back(f32({rows, rows == 2 && sample.operands.size() == 4 ? 2 : 8}));
    }
    check(sample);
  }
}

TEST_P(SdpaBwdKernel, FewQueriesOnManyKeys) {
  for (const std::int64_t queries : {1, 3, 30}) {
    const std::int64_t keys = 75, d = 7, dv = 9, distances = queries + keys - 1;
    for (const std::int64_t axis : {1, -1}) {
      const auto tokens = [axis](std::int64_t count, std::int64_t channels) {
        return axis == 1 ? f32({2, channels, count}) : f32({2, count, channels});
      };
      check({{tokens(queries, 2 * dv), tokens(queries, 2 * d), tokens(keys, 2 * d),
              tokens(keys, 2 * dv), f32({distances, d}), f32({distances, d}), f32({distances, dv})},
             {{"heads", std::int64_t{2}},
              {"query", Ints{0, d, d}},
              {"key", Ints{0, d, d}},
              {"value", Ints{0, dv, dv}},
              {"channel_axis", axis},
              {"scale", 0.5},
              {"extras", Strings{"relative_query", "relative_key", "relative_value"}}}});
    }
  }
}

}  // namespace
}  // namespace facet::testing
