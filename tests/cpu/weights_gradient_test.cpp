// The gradient of a conv's weights by Facet's own tiles: shapes at the edges of its blocks, tiles,
// chunks and phases, against the oracle, on any number of threads.

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
  Shape dy, x;
  Ints kernel, strides, pads, dilations;
  bool bias = false;
};

std::vector<Case> cases() {
  return {
      {"same", {2, 64, 14, 14}, {2, 32, 14, 14}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
      {"bias", {2, 20, 9, 9}, {2, 32, 9, 9}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, true},
      {"odd_everything", {3, 37, 7, 5}, {3, 19, 7, 5}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
      {"last_block_is_narrow", {1, 132, 6, 6}, {1, 40, 6, 6}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
      {"stride_two", {2, 48, 8, 8}, {2, 24, 16, 16}, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
      {"stride_two_odd", {2, 16, 7, 8}, {2, 17, 15, 16}, {3, 3}, {2, 2}, {0, 1, 0, 0}, {1, 1}},
      {"uneven_window", {2, 33, 10, 9}, {2, 16, 10, 7}, {3, 2}, {1, 1}, {0, 1, 2, 2}, {1, 1}},
      {"dilated", {1, 32, 12, 12}, {1, 16, 12, 12}, {3, 3}, {1, 1}, {2, 2, 2, 2}, {2, 2}},
      {"taps_in_the_padding_only",
       {1, 16, 6, 6},
       {1, 16, 2, 2},
       {5, 5},
       {1, 1},
       {4, 4, 4, 4},
       {1, 1}},
      {"fewer_channels_than_a_tile",
       {1, 16, 8, 8},
       {1, 16, 8, 8},
       {3, 3},
       {1, 1},
       {1, 1, 1, 1},
       {1, 1}},
      {"chunks_of_rows", {2, 64, 70, 70}, {2, 16, 70, 70}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
      {"chunks_of_images", {5, 64, 28, 28}, {5, 16, 28, 28}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
      {"few_channels", {3, 40, 14, 14}, {3, 24, 14, 14}, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
      {"pixels", {2, 512, 5, 5}, {2, 400, 5, 5}, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
      {"odd_pixels", {3, 512, 5, 5}, {3, 401, 5, 5}, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, true},
      {"more_channels_of_x", {2, 200, 5, 5}, {2, 528, 5, 5}, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
      {"parts_of_pixels",
       {2, 512, 23, 23},
       {2, 400, 23, 23},
       {1, 1},
       {1, 1},
       {0, 0, 0, 0},
       {1, 1}}};
}

class WeightsGradient : public ::testing::TestWithParam<std::tuple<Case, DType>> {
 protected:
  void SetUp() override {
    const CpuFeatures features = cpu_features();
    const bool is_f32 = dtype() == DType::f32;
    if (is_f32 ? !features.avx2 : !features.avx512_bf16 || features.amx_bf16) {
      GTEST_SKIP() << "the kernel needs AVX2, for bf16 AVX-512 with bf16 and no AMX";
    }
  }
  static const Case& test() { return std::get<0>(GetParam()); }
  static DType dtype() { return std::get<1>(GetParam()); }

  /// f32 sums of exact products in both dtypes, but for Winograd's algorithm on bf16, which rounds
  /// transformed pixels ahead of the products.
  static double tolerance(std::string_view kernel) {
    return kernel.starts_with("winograd") && dtype() == DType::bf16 ? 8e-3 : 2e-6;
  }

  static SampleCase make() {
    const Sample sample{{{dtype(), test().dy, {}}, {dtype(), test().x, {}}},
                        {{"kernel", test().kernel},
                         {"strides", test().strides},
                         {"pads", test().pads},
                         {"dilations", test().dilations},
                         {"bias", test().bias}}};
    SampleCase made = make_case(find_op("conv_bwd_weights"), sample);
    for (auto& [name, tensor] : made.inputs) tensor = tensor.cast(dtype()).cast(DType::f32);
    return made;
  }
};

TEST_P(WeightsGradient, EqualsTheOracleOnAnyNumberOfThreads) {
  const auto backend = make_cpu_backend();
  SampleCase made = make();
  const auto expected = evaluate(made.graph, made.inputs, {});
  const int threads = omp_get_max_threads();
  std::map<std::string, HostTensor> first;
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    const NodeRun run = run_graph(*backend, made.graph, made.inputs, Layouts::chosen);
    const std::string& found = run.implementations[0];
    EXPECT_TRUE(found.starts_with("weights_") || found.starts_with("winograd_weights:")) << found;
    for (const auto& [name, tensor] : expected) {
      const HostTensor& actual = run.outputs.at(name);
      EXPECT_LE(relative_l2(actual, tensor), tolerance(found)) << name;
      if (count == 1) {
        first[name] = actual;
      } else {
        const auto size = static_cast<std::size_t>(actual.byte_count());
        EXPECT_EQ(std::memcmp(actual.data(), first.at(name).data(), size), 0) << name;
      }
    }
  }
  omp_set_num_threads(threads);
}

/// The image with its pixels `extra` channels further apart, the gaps NaN.
Memory with_gaps(const HostTensor& values, Type type, std::int64_t extra) {
  type.layout = "acdb";
  Type wide = type;
  wide.shape[1].factor += extra;
  const Memory memory = allocate({type, dense_strides(wide)});
  std::memset(memory.data(), 0xFF, span_bytes(memory.view));
  const Memory filled = store(values, memory.view);
  const auto size = static_cast<std::size_t>(size_of(type.dtype));
  for_each_element(memory.view, [&](std::int64_t, std::int64_t offset) {
    const std::size_t at = static_cast<std::size_t>(offset) * size;
    std::memcpy(memory.data() + at, filled.data() + at, size);
  });
  return memory;
}

TEST_P(WeightsGradient, ReadsNothingBesideSlices) {
  const auto backend = make_cpu_backend();
  SampleCase made = make();
  const Node& node = *made.graph.outputs()[0].value.node;
  std::vector<Memory> operands, results;
  for (int i = 0; i < 2; ++i) {
    operands.push_back(
        with_gaps(made.inputs.at("x" + std::to_string(i)), node.operand(i).type(), 5));
  }
  for (const Type& type : node.result_types()) results.push_back(allocate(dense_view(type)));
  const std::string kernel = run_kernel(*backend, node, operands, results);
  const auto expected = evaluate(made.graph, made.inputs, {});
  for (std::size_t i = 0; i < results.size(); ++i) {
    EXPECT_LE(relative_l2(load(results[i]), expected.at("y" + std::to_string(i))),
              tolerance(kernel));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, WeightsGradient,
                         ::testing::Combine(::testing::ValuesIn(cases()),
                                            ::testing::Values(DType::f32, DType::bf16)),
                         [](const auto& test) {
                           return std::get<0>(test.param).name + "_" +
                                  std::string(to_string(std::get<1>(test.param)));
                         });

}  // namespace
}  // namespace facet::testing
