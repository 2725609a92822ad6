// A convolution whose weights are trained, and its gradients of input and weights, by Winograd's
// algorithm: shapes at the edges of its tiles, blocks and groups, against the oracle, on any number
// of threads.

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
  std::int64_t groups = 1;

  std::string implementation(std::string_view kernel) const {
    return (groups > 1 ? "grouped+" : "") + std::string(kernel);
  }
};

std::vector<Case> cases() {
  return {
      {"same", {2, 64, 14, 14}, {64, 32, 3, 3}, {2, 32, 14, 14}, {1, 1, 1, 1}},
      {"odd_everything", {3, 37, 7, 5}, {37, 45, 3, 3}, {3, 45, 7, 5}, {1, 1, 1, 1}},
      {"odd_number_of_tiles", {3, 38, 5, 5}, {38, 45, 3, 3}, {3, 45, 5, 5}, {1, 1, 1, 1}},
      {"last_block_is_narrow", {1, 40, 6, 6}, {40, 132, 3, 3}, {1, 132, 6, 6}, {1, 1, 1, 1}},
      {"no_padding", {2, 32, 6, 9}, {32, 48, 3, 3}, {2, 48, 8, 11}, {0, 0, 0, 0}},
      {"full_padding", {2, 32, 10, 9}, {32, 32, 3, 3}, {2, 32, 8, 7}, {2, 2, 2, 2}},
      {"uneven_padding", {2, 32, 8, 7}, {32, 32, 3, 3}, {2, 32, 8, 7}, {0, 2, 2, 0}},
      {"several_groups_and_parts", {6, 64, 28, 28}, {64, 64, 3, 3}, {6, 64, 28, 28}, {1, 1, 1, 1}},
      {"large_weights", {2, 512, 7, 7}, {512, 512, 3, 3}, {2, 512, 7, 7}, {1, 1, 1, 1}},
      {"two_groups", {2, 64, 14, 14}, {64, 32, 3, 3}, {2, 64, 14, 14}, {1, 1, 1, 1}, 2},
      {"groups_that_widen", {3, 192, 7, 5}, {192, 34, 3, 3}, {3, 102, 7, 5}, {1, 1, 1, 1}, 3}};
}

class WinogradGradient : public ::testing::TestWithParam<std::tuple<Case, DType>> {
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
  static Attributes attributes() {
    return {{"strides", Ints{1, 1}},
            {"pads", test().pads},
            {"dilations", Ints{1, 1}},
            {"groups", test().groups}};
  }
  static SampleCase make(std::string_view op, const Shape& second, Attributes attributes) {
    const Sample sample{{{dtype(), test().dy, {}}, {dtype(), second, {}}}, attributes};
    SampleCase made = make_case(find_op(op), sample);
    for (auto& [name, tensor] : made.inputs) tensor = tensor.cast(dtype()).cast(DType::f32);
    return made;
  }
  static SampleCase make_input_gradient() {
    Attributes all = attributes();
    all.set("height", test().x[2].factor);
    all.set("width", test().x[3].factor);
    return make("conv_bwd_data", test().weight, all);
  }
  static SampleCase make_weights_gradient() {
    Attributes all = attributes();
    all.set("kernel", Ints{3, 3});
    all.set("bias", test().groups == 1);
    return make("conv_bwd_weights", test().x, all);
  }

  /// Results near the oracle's, and the same bits on any number of threads.
  static void check(SampleCase made, std::string_view implementation) {
    const double tolerance = dtype() == DType::f32 ? 2e-6 : 8e-3;
    const auto backend = make_cpu_backend();
    const auto expected = evaluate(made.graph, made.inputs, {});
    const int threads = omp_get_max_threads();
    std::map<std::string, HostTensor> first;
    for (const int count : {1, 2, 3}) {
      omp_set_num_threads(count);
      const NodeRun run = run_graph(*backend, made.graph, made.inputs, Layouts::chosen);
      EXPECT_TRUE(run.implementations[0].starts_with(implementation)) << run.implementations[0];
      for (const auto& [name, tensor] : expected) {
        const HostTensor& actual = run.outputs.at(name);
        EXPECT_LE(relative_l2(actual, tensor), tolerance) << name;
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
};

TEST_P(WinogradGradient, OfTheInputEqualsTheOracleOnAnyNumberOfThreads) {
  if (dtype() == DType::bf16 && test().dy[1].factor % 2 != 0) {
    GTEST_SKIP() << "bf16 multiplies pairs of channels";
  }
  check(make_input_gradient(), test().implementation("winograd:"));
}

TEST_P(WinogradGradient, OfTheWeightsEqualsTheOracleOnAnyNumberOfThreads) {
  check(make_weights_gradient(), test().implementation("winograd_weights:"));
}

// No reorder stands between the optimizer's weights and the convolution.
TEST_P(WinogradGradient, ForwardReadsTrainedWeightsAsTheyLie) {
  if (dtype() == DType::bf16 && test().weight[1].factor % 2 != 0) {
    GTEST_SKIP() << "bf16 multiplies pairs of channels";
  }
  const Sample sample{{{dtype(), test().x, {}}, {dtype(), test().weight, {}}}, attributes()};
  SampleCase made = make_case(find_op("conv"), sample);
  for (auto& [name, tensor] : made.inputs) tensor = tensor.cast(dtype()).cast(DType::f32);
  Graph graph;
  const Type x{dtype(), test().x, {}};
  const Type weight{dtype(), test().weight, {}};
  Node* const input =
      graph.create("input", {}, {{"name", std::string("x0")}, {"type", to_string(x)}});
  Node* const trained = graph.create(
      "parameter", {}, {{"key", std::string("w")}, {"type", to_string(weight)}, {"mutable", true}});
  const Node* const conv = graph.create("conv", {input->result(), trained->result()}, attributes());
  const auto backend = make_cpu_backend();
  const LayoutChoice choice = backend->choose_layouts(*conv);
  EXPECT_EQ(choice.operands[1], Layout(""));
  const std::vector<Memory> operands{
      store(made.inputs.at("x0"), dense_view(with_layout(x, choice.operands[0]))),
      store(made.inputs.at("x1"), dense_view(weight))};
  const Memory result =
      allocate(dense_view(with_layout(conv->result_types()[0], choice.results[0])));
  const std::string implementation = run_kernel(*backend, *conv, operands, result);
  EXPECT_TRUE(implementation.starts_with(test().implementation("winograd:"))) << implementation;
  const auto expected = evaluate(made.graph, made.inputs, {});
  EXPECT_LE(relative_l2(load(result), expected.begin()->second),
            dtype() == DType::f32 ? 2e-6 : 8e-3);
}

INSTANTIATE_TEST_SUITE_P(Cases, WinogradGradient,
                         ::testing::Combine(::testing::ValuesIn(cases()),
                                            ::testing::Values(DType::f32, DType::bf16)),
                         [](const auto& test) {
                           return std::get<0>(test.param).name + "_" +
                                  std::string(to_string(std::get<1>(test.param)));
                         });

}  // namespace
}  // namespace facet::testing
