// The kernel of attention's gradient on the op's own samples and on larger shapes: every
// instruction set this machine runs, one and several threads, against the float64 oracle.

#include <omp.h>

#include <deque>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/sdpa_bwd_plan.h"
#include "tests/cpu_kernels/harness.h"
#include "tests/support/fill.h"

namespace facet::testing {
namespace {

Type f32(Shape shape) { return {DType::f32, std::move(shape), {}}; }

/// A node of the sample and its inputs, rounded to `dtype` where they are multiplied.
struct Problem {
  Graph graph;
  TensorMap inputs, expected;
  Node* node = nullptr;

  Problem(const Sample& sample, DType dtype) {
    std::vector<Value> operands;
    for (std::size_t i = 0; i < sample.operands.size(); ++i) {
      Type type = sample.operands[i];
      if (i < 4) type.dtype = dtype;
      const bool is_packed = sample.attributes.has("packed") && i > 0 && i < 4;
      const std::string name = fmt::format("x{}", is_packed ? 1 : i);
      if (is_packed && i > 1) {
        operands.push_back(operands[1]);
        continue;
      }
      operands.push_back(
          graph.create("input", {}, {{"name", name}, {"type", to_string(type)}})->result());
      inputs[name] =
          uniform(name, static_extents(type.shape), sample.lo, sample.hi).cast(type.dtype);
    }
    node = graph.create(find_op("sdpa_bwd"), operands, sample.attributes);
    for (int i = 0; i < node->result_count(); ++i) {
      graph.outputs().push_back({fmt::format("g{}", i), node->result(i)});
    }
    expected = evaluate(graph, inputs, {});
  }
};

std::vector<HostTensor> run(const Problem& problem, const cpu::SdpaLoops& loops, Layout layout,
                            Gaps gaps, int threads) {
  const Node& node = *problem.node;
  const int maps = sdpa_bwd_of(node).value + 1;
  std::deque<Placed> operands, results;
  std::vector<View> operand_views, result_views;
  std::vector<std::byte*> from, to;
  for (int i = 0; i < node.operand_count(); ++i) {
    Type type = node.operand(i).type();
    if (type.rank() == 4 && i < 4) type.layout = layout;
    Placed& operand = operands.emplace_back(type, gaps);
    operand.write(problem.inputs.at(node.operand(i).node->attributes().text("name")));
    operand_views.push_back(operand.view());
    from.push_back(operand.data());
  }
  for (int i = 0; i < node.result_count(); ++i) {
    Type type = node.result_types()[static_cast<std::size_t>(i)];
    if (type.rank() == 4 && i < maps) type.layout = layout;
    Placed& result = results.emplace_back(type, gaps);
    result_views.push_back(result.view());
    to.push_back(result.data());
  }
  const std::unique_ptr<Kernel> kernel =
      cpu::lower_sdpa_bwd(node, operand_views, result_views, loops);
  constexpr std::size_t kGuard = 64;
  const std::size_t bytes = kernel->scratch_bytes();
  // What lies in the scratch before a run is not to count, NaN or not.
  std::vector<std::byte> scratch(bytes + 2 * kGuard, std::byte{0xFF});
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  kernel->bind(*host_queue(), from, to, scratch.data() + kGuard)();
  omp_set_num_threads(before);
  for (std::size_t i = 0; i < kGuard; ++i) {
    EXPECT_EQ(scratch[i], std::byte{0xFF});
    EXPECT_EQ(scratch[bytes + kGuard + i], std::byte{0xFF});
  }
  std::vector<HostTensor> found;
  for (Placed& result : results) {
    EXPECT_TRUE(result.keeps_gaps());
    found.push_back(result.read());
  }
  return found;
}

double norm(const HostTensor& x) {
  double sum = 0;
  for (std::int64_t i = 0; i < x.element_count(); ++i) sum += x.at(i) * x.at(i);
  return std::sqrt(sum);
}

/// ||a - b|| / ||b||.
double error_of(const HostTensor& a, const HostTensor& b) {
  double difference = 0;
  for (std::int64_t i = 0; i < b.element_count(); ++i) {
    difference += (a.at(i) - b.at(i)) * (a.at(i) - b.at(i));
  }
  return std::sqrt(difference) / norm(b);
}

class SdpaBwdKernel : public ::testing::TestWithParam<const cpu::VectorLoops*> {
 protected:
  void SetUp() override {
    if (GetParam() == nullptr) GTEST_SKIP() << "not compiled in";
    if (!cpu::runs_here(*GetParam())) GTEST_SKIP() << "this machine cannot run it";
  }

  /// In all dtypes, layouts and gaps; three threads give the bits of one.
  void check(const Sample& sample) const {
    const cpu::SdpaLoops& loops = cpu::sdpa_loops(*GetParam());
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Problem problem(sample, dtype);
      const bool is_map = problem.node->operand(1).type().rank() == 4;
      for (const char* layout : {"", "acdb"}) {
        if (!is_map && *layout != '\0') continue;
        for (const Gaps gaps : {Gaps::none, Gaps::one_axis}) {
          SCOPED_TRACE(fmt::format("{} {} layout '{}' gaps {}", loops.name, to_string(dtype),
                                   layout, static_cast<int>(gaps)));
          const std::vector<HostTensor> one = run(problem, loops, layout, gaps, 1);
          const std::vector<HostTensor> three = run(problem, loops, layout, gaps, 3);
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
            EXPECT_EQ(0, std::memcmp(one[i].data(), three[i].data(),
                                     static_cast<std::size_t>(one[i].byte_count())))
                << "threads change result " << i;
          }
        }
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(All, SdpaBwdKernel,
                         ::testing::Values(cpu::baseline_loops(), cpu::avx2_loops(),
                                           cpu::avx512_loops(), cpu::avx512_bf16_loops()),
                         [](const auto& suite) {
                           return std::string(suite.param != nullptr
                                                  ? suite.param->name
                                                  : fmt::format("absent{}", suite.index));
                         });

TEST_P(SdpaBwdKernel, TheOpsSamples) {
  int checked = 0;
  for (const Sample& sample : find_op("sdpa_bwd").samples.make()) {
    if (!cpu::takes_sdpa_bwd(*Problem(sample, DType::f32).node)) continue;
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
