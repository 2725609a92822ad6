// The gradient of a convolution's input by Winograd's algorithm: shapes at the edges of its tiles,
// blocks and groups, against the oracle, on any number of threads.

#include <gtest/gtest.h>
#include <omp.h>

#include <cstring>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference.h"
#include "tests/cpu/run_node.h"
#include "tests/support/op_samples.h"

namespace facet::testing {
namespace {

struct Case {
  std::string name;
  Shape dy, weight, x;
  Ints pads;
};

std::vector<Case> cases() {
  return {{"same", {2, 64, 14, 14}, {64, 32, 3, 3}, {2, 32, 14, 14}, {1, 1, 1, 1}},
          {"odd_everything", {3, 37, 7, 5}, {37, 45, 3, 3}, {3, 45, 7, 5}, {1, 1, 1, 1}},
          {"last_block_is_narrow", {1, 40, 6, 6}, {40, 132, 3, 3}, {1, 132, 6, 6}, {1, 1, 1, 1}},
          {"no_padding", {2, 32, 6, 9}, {32, 48, 3, 3}, {2, 48, 8, 11}, {0, 0, 0, 0}},
          {"full_padding", {2, 32, 10, 9}, {32, 32, 3, 3}, {2, 32, 8, 7}, {2, 2, 2, 2}},
          {"uneven_padding", {2, 32, 8, 7}, {32, 32, 3, 3}, {2, 32, 8, 7}, {0, 2, 2, 0}},
          {"several_groups", {4, 64, 28, 28}, {64, 64, 3, 3}, {4, 64, 28, 28}, {1, 1, 1, 1}},
          {"large_weights", {2, 512, 7, 7}, {512, 512, 3, 3}, {2, 512, 7, 7}, {1, 1, 1, 1}}};
}

class WinogradGradient : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!cpu_features().avx512) GTEST_SKIP() << "the kernel needs AVX-512";
  }
  static SampleCase make() {
    const Case& c = GetParam();
    const Sample sample{{{DType::f32, c.dy, {}}, {DType::f32, c.weight, {}}},
                        {{"strides", Ints{1, 1}},
                         {"pads", c.pads},
                         {"dilations", Ints{1, 1}},
                         {"groups", std::int64_t{1}},
                         {"height", c.x[2].factor},
                         {"width", c.x[3].factor}}};
    SampleCase made = make_case(find_op("conv_bwd_data"), sample);
    for (auto& [name, tensor] : made.inputs) tensor = tensor.cast(DType::f32);
    return made;
  }
};

TEST_P(WinogradGradient, EqualsTheOracleOnAnyNumberOfThreads) {
  const auto backend = make_cpu_backend();
  SampleCase made = make();
  const HostTensor expected = evaluate(made.graph, made.inputs, {}).at("y0");
  const int threads = omp_get_max_threads();
  HostTensor first;
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    const NodeRun run = run_graph(*backend, made.graph, made.inputs, Layouts::chosen);
    EXPECT_EQ(run.implementations[0].rfind("winograd", 0), 0U) << run.implementations[0];
    const HostTensor& actual = run.outputs.at("y0");
    EXPECT_LE(relative_l2(actual, expected), 2e-6);
    if (count == 1) {
      first = actual;
    } else {
      const auto size = static_cast<std::size_t>(actual.byte_count());
      EXPECT_EQ(std::memcmp(actual.data(), first.data(), size), 0);
    }
  }
  omp_set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Cases, WinogradGradient, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace facet::testing
