#include <fmt/format.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cstring>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference.h"
#include "tests/cpu/run_node.h"
#include "tests/support/op_samples.h"

namespace facet::testing {
namespace {

/// A conv or conv_branches by its operands' shapes. Extents are chosen so that tiles, blocks and
/// chunks of the kernel end in the middle of everything.
struct Case {
  std::string name;
  std::string op = "conv";
  Shape x;
  Shape weight;
  Attributes attributes;
  std::vector<Shape> extras = {};  ///< of the epilogue, in order
  std::string kernel = "direct";   ///< that runs it
};

Attributes window(Ints strides, Ints pads, Ints dilations, Strings epilogue) {
  return {{"strides", std::move(strides)},
          {"pads", std::move(pads)},
          {"dilations", std::move(dilations)},
          {"epilogue", std::move(epilogue)}};
}

std::vector<Case> cases() {
  const Ints one{1, 1};
  const Ints none{0, 0, 0, 0};
  const Ints same{1, 1, 1, 1};
  std::vector<Case> list;
  list.push_back({"one_pixel", "conv", {1, 8, 1, 1}, {16, 8, 1, 1}, window(one, none, one, {})});
  list.push_back({"fewer_channels_than_a_vector",
                  "conv",
                  {2, 10, 5, 7},
                  {5, 10, 3, 3},
                  window(one, same, one, {"bias", "relu"}),
                  {{5}}});
  list.push_back({"three_vectors",
                  "conv",
                  {2, 24, 11, 13},
                  {48, 24, 3, 3},
                  window(one, same, one, {"bias", "relu"}),
                  {{48}}});
  list.push_back({"last_block_of_one_vector",
                  "conv",
                  {1, 16, 9, 9},
                  {132, 16, 3, 3},
                  window({2, 2}, none, one, {"bias"}),
                  {{132}}});
  list.push_back({"uneven_padding_and_stride",
                  "conv",
                  {2, 8, 10, 7},
                  {33, 8, 3, 2},
                  window({2, 1}, {0, 1, 2, 0}, one, {"prelu"}),
                  {{33}}});
  list.push_back({"dilated",
                  "conv",
                  {1, 8, 12, 12},
                  {32, 8, 3, 3},
                  window(one, {2, 2, 2, 2}, {2, 2}, {"bias", "prelu"}),
                  {{32}, {1}}});
  list.push_back({"only_padding_under_some_taps",
                  "conv",
                  {1, 8, 2, 2},
                  {16, 8, 5, 5},
                  window(one, {4, 4, 4, 4}, one, {})});
  list.push_back({"residual",
                  "conv",
                  {3, 16, 6, 6},
                  {40, 16, 1, 1},
                  window(one, none, one, {"bias", "add", "relu"}),
                  {{40}, {3, 40, 6, 6}}});
  list.push_back({"gate_of_full_size",
                  "conv",
                  {1, 16, 6, 5},
                  {24, 16, 3, 3},
                  window(one, same, one, {"sigmoid", "mul"}),
                  {{1, 24, 6, 5}}});
  list.push_back({"chunks_of_taps",
                  "conv",
                  {2, 160, 7, 7},
                  {192, 160, 3, 3},
                  window(one, same, one, {"bias", "relu"}),
                  {{192}},
                  "winograd"});
  list.push_back({"chunks_of_taps_and_stride",
                  "conv",
                  {2, 160, 7, 7},
                  {192, 160, 3, 3},
                  window({2, 2}, same, one, {"bias", "relu"}),
                  {{192}}});
  list.push_back({"odd_map",
                  "conv",
                  {3, 48, 7, 5},
                  {48, 48, 3, 3},
                  window(one, same, one, {"bias", "relu"}),
                  {{48}},
                  "winograd"});
  list.push_back({"no_padding_and_short_vectors",
                  "conv",
                  {2, 36, 8, 9},
                  {41, 36, 3, 3},
                  window(one, none, one, {"bias", "prelu"}),
                  {{41}, {41}},
                  "winograd"});
  list.push_back({"one_result_pixel",
                  "conv",
                  {1, 64, 3, 3},
                  {33, 64, 3, 3},
                  window(one, none, one, {}),
                  {},
                  "winograd"});
  list.push_back({"wide_padding",
                  "conv",
                  {1, 32, 4, 3},
                  {64, 32, 3, 3},
                  window(one, {2, 1, 0, 3}, one, {}),
                  {},
                  "winograd"});
  list.push_back({"residual_behind_a_window",
                  "conv",
                  {2, 40, 9, 7},
                  {72, 40, 3, 3},
                  window(one, same, one, {"bias", "add", "prelu"}),
                  {{72}, {2, 72, 9, 7}, {72}},
                  "winograd"});
  list.push_back({"large_odd_map",
                  "conv",
                  {2, 70, 31, 29},
                  {72, 70, 3, 3},
                  window(one, {1, 0, 2, 1}, one, {"bias", "add", "prelu"}),
                  {{72}, {2, 72, 32, 28}, {72}},
                  "winograd"});
  list.push_back({"large_map_and_short_vectors",
                  "conv",
                  {1, 36, 50, 65},
                  {41, 36, 3, 3},
                  window(one, none, one, {"bias", "relu"}),
                  {{41}},
                  "winograd"});
  list.push_back({"many_channels_on_few_tiles",
                  "conv",
                  {1, 512, 7, 7},
                  {512, 512, 3, 3},
                  window(one, same, one, {"bias", "relu"}),
                  {{512}}});
  list.push_back({"groups_that_threads_take",
                  "conv",
                  {1, 96, 150, 151},
                  {32, 96, 3, 3},
                  window(one, same, one, {"bias", "relu"}),
                  {{32}},
                  "winograd"});
  list.push_back({"chunks_of_channels",
                  "conv",
                  {3, 1500, 5, 5},
                  {144, 1500, 1, 1},
                  window(one, none, one, {"bias", "add"}),
                  {{144}, {3, 144, 5, 5}}});
  list.push_back({"chunks_and_a_short_block",
                  "conv",
                  {1, 128, 9, 9},
                  {200, 128, 3, 3},
                  window({2, 2}, same, one, {"bias", "prelu"}),
                  {{200}, {200}}});
  Attributes branches = window(one, none, one, {"bias", "relu"});
  branches.set("channels", Ints{24, 120, 7, 32});
  list.push_back({"branches_across_vectors",
                  "conv_branches",
                  {2, 20, 9, 5},
                  {183, 20, 1, 1},
                  branches,
                  {{183}}});
  branches.set("channels", Ints{96, 96, 48});
  list.push_back({"branches_of_whole_vectors",
                  "conv_branches",
                  {2, 20, 9, 5},
                  {240, 20, 1, 1},
                  branches,
                  {{240}}});
  return list;
}

class DirectConvolution : public ::testing::TestWithParam<std::tuple<Case, DType>> {
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
  /// Small images are direct in bf16, where transforming weights would take longer than products.
  static std::string kernel() {
    const bool is_small = dtype() == DType::bf16 && test().x[2].factor < 16;
    return test().kernel == "winograd" && is_small ? "direct" : test().kernel;
  }
  /// Of results in the relative l2 norm. In bf16 a result is rounded (2^-9); Winograd's algorithm
  /// rounds pixels and weights once more ahead of the products.
  static double tolerance() {
    if (dtype() == DType::f32) return 2e-6;
    return kernel() == "winograd" ? 8e-3 : 5e-3;
  }

  /// x, weight and full-size extras in the dtype; rows of a channel each stay f32.
  static SampleCase make() {
    const OpDef& op = find_op(test().op);
    Sample sample{{{dtype(), test().x, {}}, {dtype(), test().weight, {}}}, test().attributes};
    for (const Shape& shape : test().extras) {
      sample.operands.push_back({shape.size() == 4 ? dtype() : DType::f32, shape, {}});
    }
    SampleCase made = make_case(op, sample);
    for (std::size_t i = 0; i < sample.operands.size(); ++i) {
      HostTensor& values = made.inputs.at(fmt::format("x{}", i));
      values = values.cast(sample.operands[i].dtype).cast(DType::f32);
    }
    return made;
  }
};

TEST_P(DirectConvolution, EqualsTheOracleOnAnyNumberOfThreads) {
  const auto backend = make_cpu_backend();
  SampleCase made = make();
  const auto expected = evaluate(made.graph, made.inputs, {});
  const int threads = omp_get_max_threads();
  std::map<std::string, HostTensor> first;
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    const NodeRun run = run_graph(*backend, made.graph, made.inputs, Layouts::chosen);
    ASSERT_EQ(run.implementations.size(), 1U);
    EXPECT_EQ(run.implementations[0].rfind(kernel() + ":", 0), 0U) << run.implementations[0];
    for (const auto& [name, tensor] : expected) {
      const HostTensor& actual = run.outputs.at(name);
      EXPECT_LE(relative_l2(actual, tensor), tolerance()) << name;
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

class ConstantWeights : public DirectConvolution {};

// The weights as a constant: Winograd's algorithm finds them transformed, to the bits that a run
// transforms them to.
TEST_P(ConstantWeights, OfWinogradAreTransformedOnce) {
  const auto backend = make_cpu_backend();
  SampleCase made = make();
  const auto expected = evaluate(made.graph, made.inputs, {});
  const NodeRun packed = run_graph(*backend, made.graph, made.inputs, Layouts::chosen);
  Node* const node = made.graph.outputs()[0].value.node;
  Node* const constant =
      made.graph.create("constant", {}, {{"value", made.inputs.at("x1").cast(dtype())}}, {}, node);
  node->set_operand(1, constant->result());
  const bool is_transformed = backend->choose_layouts(*node).operands[1].starts_with("opaque");
  // In bf16 there must be channels, and tiles of an image or a great many products.
  const std::int64_t out = test().weight[0].factor, in = test().weight[1].factor;
  EXPECT_EQ(is_transformed, dtype() == DType::f32 || (std::min(out, in) >= 48 &&
                                                      (test().x[2].factor >= 16 || in >= 512)));
  const int threads = omp_get_max_threads();
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    const NodeRun run = run_graph(*backend, made.graph, made.inputs, Layouts::chosen);
    EXPECT_EQ(run.implementations[0].starts_with("winograd:"),
              is_transformed || kernel() == "winograd");
    for (const auto& [name, tensor] : expected) {
      const HostTensor& actual = run.outputs.at(name);
      EXPECT_LE(relative_l2(actual, tensor), dtype() == DType::f32 ? 2e-6 : 8e-3) << name;
      if (run.implementations != packed.implementations) continue;
      EXPECT_EQ(std::memcmp(actual.data(), packed.outputs.at(name).data(),
                            static_cast<std::size_t>(actual.byte_count())),
                0)
          << name;
    }
  }
  omp_set_num_threads(threads);
}

/// The view with its pixels `extra` channels further apart.
View with_gaps(const Type& type, std::int64_t extra) {
  Type wide = type;
  wide.shape[1].factor += extra;
  return {type, dense_strides(wide)};
}

// Every image is a slice of a wider one whose other channels are NaN: read, they would be seen;
// written, they would be gone.
TEST_P(DirectConvolution, ReadsAndWritesNothingBesideSlices) {
  const auto backend = make_cpu_backend();
  SampleCase made = make();
  const Node& node = *made.graph.outputs()[0].value.node;
  const LayoutChoice choice = backend->choose_layouts(node);
  const auto place = [](const Type& type, const Layout& layout) {
    const Type laid = with_layout(type, layout);
    const Memory memory =
        allocate(type.rank() == 4 && layout == "acdb" ? with_gaps(laid, 6) : dense_view(laid));
    std::memset(memory.data(), 0xFF, span_bytes(memory.view));  // NaN in f32 and bf16
    return memory;
  };
  std::vector<Memory> operands;
  for (int i = 0; i < node.operand_count(); ++i) {
    const Type& type = node.operand(i).type();
    const HostTensor& values = made.inputs.at(fmt::format("x{}", i));
    const Layout& layout = choice.operands[static_cast<std::size_t>(i)];
    if (i == 1) {
      operands.push_back(reordered(*backend, store(values, dense_view(type)), layout));
      continue;
    }
    const Memory memory = place(type, layout);
    const Memory filled = store(values, memory.view);
    for_each_element(memory.view, [&](std::int64_t, std::int64_t offset) {
      const auto size = static_cast<std::size_t>(size_of(type.dtype));
      std::memcpy(memory.data() + static_cast<std::size_t>(offset) * size,
                  filled.data() + static_cast<std::size_t>(offset) * size, size);
    });
    operands.push_back(memory);
  }
  std::vector<Memory> results;
  for (const Type& type : node.result_types()) results.push_back(place(type, "acdb"));
  run_kernel(*backend, node, operands, results);
  const auto expected = evaluate(made.graph, made.inputs, {});
  for (std::size_t i = 0; i < results.size(); ++i) {
    const HostTensor& wanted = expected.at(fmt::format("y{}", i));
    EXPECT_LE(relative_l2(load(results[i]), wanted), tolerance());
    std::vector<bool> written(span_bytes(results[i].view));
    const std::int64_t size = size_of(results[i].view.type.dtype);
    for_each_element(results[i].view, [&](std::int64_t, std::int64_t offset) {
      for (std::int64_t b = 0; b < size; ++b) {
        written[static_cast<std::size_t>(offset * size + b)] = true;
      }
    });
    for (std::size_t b = 0; b < written.size(); ++b) {
      ASSERT_TRUE(written[b] || results[i].data()[b] == std::byte{0xFF}) << "gap at byte " << b;
    }
  }
}

std::vector<Case> winograd_cases() {
  std::vector<Case> list = cases();
  std::erase_if(list, [](const Case& test) {
    return test.kernel != "winograd" && test.name != "many_channels_on_few_tiles";
  });
  return list;
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<Case, DType>>& test) {
  return std::get<0>(test.param).name + "_" + std::string(to_string(std::get<1>(test.param)));
}

INSTANTIATE_TEST_SUITE_P(Cases, DirectConvolution,
                         ::testing::Combine(::testing::ValuesIn(cases()),
                                            ::testing::Values(DType::f32, DType::bf16)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Cases, ConstantWeights,
                         ::testing::Combine(::testing::ValuesIn(winograd_cases()),
                                            ::testing::Values(DType::f32, DType::bf16)),
                         name_of);

TEST(DirectConvolution, RefusesWhatItCannotDo) {
  if (!cpu_features().avx2) GTEST_SKIP() << "the kernel needs AVX2";
  const auto backend = make_cpu_backend();
  const auto supports = [&](Shape weight, Strings epilogue, std::vector<Type> extras) {
    Graph graph;
    const auto input = [&](const Type& type) {
      return graph.create("input", {}, {{"name", std::string("x")}, {"type", to_string(type)}})
          ->result();
    };
    std::vector<Value> operands{input({DType::f32, {2, weight[1], 6, 6}, {}}),
                                input({DType::f32, weight, {}})};
    for (const Type& extra : extras) operands.push_back(input(extra));
    return backend->supports(*graph.create(
        "conv_branches", operands,
        {{"channels", Ints{8, weight[0].factor - 8}}, {"epilogue", std::move(epilogue)}}));
  };
  EXPECT_TRUE(supports({16, 8, 1, 1}, {}, {}));
  EXPECT_FALSE(supports({16, 4, 1, 1}, {}, {})) << "too few channels";
  EXPECT_FALSE(supports({16, 8, 1, 1}, {"bias"}, {{DType::bf16, {16}, {}}}));
  EXPECT_TRUE(supports({16, 8, 1, 1}, {"bias"}, {{DType::f32, {16}, {}}}));
}

}  // namespace
}  // namespace facet::testing
