#include <gtest/gtest.h>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/descriptors.h"
#include "ir/error.h"
#include "tests/cpu/run_node.h"
#include "tests/support/fill.h"

namespace facet::testing {
namespace {

Node* add_conv(Graph& graph, Type x, Type weight, Attributes attributes) {
  const auto input = [&](const char* name, const Type& type) {
    return graph.create("input", {}, {{"name", std::string(name)}, {"type", to_string(type)}})
        ->result();
  };
  return graph.create("conv", {input("x", x), input("w", weight)}, std::move(attributes));
}

Attributes conv_attributes(std::int64_t pad, std::int64_t groups) {
  return {{"pads", Ints{pad, pad, pad, pad}}, {"groups", groups}};
}

/// Weights through the chosen layout and back are the same bytes, and take `byte_size`.
void expect_round_trip(const Backend& backend, const Type& plain, const Layout& layout) {
  SCOPED_TRACE(to_string(plain) + " in " + layout.substr(0, 60));
  const HostTensor values = uniform("w", static_extents(plain.shape), -1, 1).cast(plain.dtype);
  const Memory memory = store(values, dense_view(plain));
  const Memory packed = reordered(backend, memory, layout);
  const Memory back = reordered(backend, packed, "");
  EXPECT_EQ(load(back).to_doubles(), values.to_doubles());
}

class CpuWeightLayouts : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (!backend_->multiplies(GetParam())) {
      GTEST_SKIP() << "this processor multiplies no " << to_string(GetParam());
    }
  }

  std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

INSTANTIATE_TEST_SUITE_P(Types, CpuWeightLayouts, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST_P(CpuWeightLayouts, RoundTrip) {
  struct Case {
    Shape x, weight;
    std::int64_t pad, groups;
  };
  for (const Case& c :
       {Case{{2, 64, 9, 9}, {48, 64, 3, 3}, 1, 1}, Case{{1, 3, 16, 16}, {64, 3, 3, 3}, 1, 1},
        Case{{2, 96, 7, 7}, {6, 96, 1, 1}, 0, 1}, Case{{1, 2, 14, 14}, {1, 2, 7, 7}, 3, 1},
        Case{{2, 32, 9, 9}, {32, 8, 3, 3}, 1, 4}, Case{{2, 24, 9, 9}, {24, 1, 3, 3}, 1, 24}}) {
    Graph graph;
    const Type weight{GetParam(), c.weight, {}};
    const Node* node =
        add_conv(graph, {GetParam(), c.x, {}}, weight, conv_attributes(c.pad, c.groups));
    const LayoutChoice choice = backend_->choose_layouts(*node);
    ASSERT_EQ(choice.operands.size(), 2u);
    expect_round_trip(*backend_, weight, choice.operands[1]);
    EXPECT_EQ(choice.operands[1].starts_with("g"), c.groups > 1 && !choice.operands[1].empty())
        << choice.operands[1];
    EXPECT_EQ(to_string(parse_type(to_string(with_layout(weight, choice.operands[1])))),
              to_string(with_layout(weight, choice.operands[1])));
  }
}

TEST(CpuLayouts, ActivationsOfConvolutionsAreChannelsLast) {
  const auto backend = make_cpu_backend();
  Graph graph;
  const Type x{DType::f32, {2, 64, 9, 9}, {}};
  const Node* node = add_conv(graph, x, {DType::f32, {64, 64, 3, 3}, {}}, conv_attributes(1, 1));
  const LayoutChoice choice = backend->choose_layouts(*node);
  EXPECT_EQ(choice.operands[0], "acdb");
  EXPECT_EQ(choice.results, std::vector<Layout>{"acdb"});
}

/// An sdpa with a table behind q, k and v, which are one value of `shape`.
Node* add_sdpa(Graph& graph, Shape shape, std::int64_t channel_axis) {
  const auto input = [&](const char* name, const Type& type) {
    return graph.create("input", {}, {{"name", std::string(name)}, {"type", to_string(type)}})
        ->result();
  };
  const Value x = input("x", {DType::bf16, std::move(shape), {}});
  const Value table = input("table", {DType::bf16, {7, 4}, {}});
  return graph.create("sdpa", {x, x, x, table},
                      {{"heads", std::int64_t{2}},
                       {"query", Ints{0, 12, 4}},
                       {"key", Ints{4, 12, 4}},
                       {"value", Ints{8, 12, 4}},
                       {"channel_axis", channel_axis},
                       {"extras", Strings{"relative_key"}}});
}

TEST(CpuLayouts, AttentionIsChannelsLastOnMapsAndWorksOnSlices) {
  const auto backend = make_cpu_backend();
  Graph graph;
  const Node* map = add_sdpa(graph, {2, 24, 2, 2}, 1);
  LayoutChoice choice = backend->choose_layouts(*map);
  EXPECT_EQ(choice.operands, (std::vector<Layout>{"acdb", "acdb", "acdb", ""}));
  EXPECT_EQ(choice.results, std::vector<Layout>{"acdb"});
  choice = backend->choose_layouts(*add_sdpa(graph, {2, 4, 24}, -1));
  EXPECT_EQ(choice.operands, std::vector<Layout>(4));
  EXPECT_EQ(choice.results, std::vector<Layout>(1));
  EXPECT_TRUE(backend->supports(*map));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(backend->reads_slices(*map, i));
  EXPECT_TRUE(backend->writes_slices(*map, 0));
}

TEST_P(CpuWeightLayouts, ConvertAndPackInOneCopy) {
  Graph graph;
  const Type x{GetParam(), {1, 32, 8, 8}, {}};
  const Type weight{GetParam(), {32, 32, 3, 3}, {}};
  const Node* conv = add_conv(graph, x, weight, conv_attributes(1, 1));
  const Layout layout = backend_->choose_layouts(*conv).operands[1];
  const HostTensor values = uniform("w", {32, 32, 3, 3}, -1, 1);
  const Memory source = store(values, dense_view({DType::f32, weight.shape, {}}));
  Node* reorder = graph.create("reorder", {conv->operand(1)}, {{"layout", layout}});
  const Memory packed = allocate(dense_view(with_layout(weight, layout)));
  run_kernel(*backend_, *reorder, std::span(&source, 1), packed);
  EXPECT_EQ(load(reordered(*backend_, packed, "")).to_doubles(),
            values.cast(GetParam()).to_doubles());
}

TEST(CpuLayouts, TextAndDescriptorAreInverse) {
  const cpu::TagTable tags;
  for (const char* layout : {"", "acdb", "aBcd16b", "ABcd16b16a", "Acdb64a", "AcdB64a2b"}) {
    const Type type{DType::f32, {96, 64, 3, 3}, layout};
    const cpu::Descriptor descriptor = cpu::describe(tags, dense_view(type));
    EXPECT_EQ(cpu::layout_of(tags, descriptor), layout);
    EXPECT_EQ(static_cast<std::int64_t>(descriptor.get_size()), byte_size(type));
  }
  const Type grouped{DType::f32, {64, 16, 3, 3}, "g4ABcde4b16c"};
  EXPECT_THROW(cpu::describe(tags, {grouped, {}}), Error);
}

TEST(CpuLayouts, LayoutsWithoutATagCarryTheirDescriptor) {
  const cpu::TagTable tags;
  // Rows 5 elements apart that hold 3: no tag has gaps.
  const cpu::Descriptor odd({4, 3}, dnnl::memory::data_type::f32, cpu::Extents{5, 1});
  const Layout layout = cpu::layout_of(tags, odd);
  ASSERT_TRUE(layout.starts_with("opaque")) << layout;
  const Type type{DType::f32, {4, 3}, layout};
  EXPECT_EQ(cpu::describe(tags, dense_view(type)), odd);
  EXPECT_EQ(byte_size(type), static_cast<std::int64_t>(odd.get_size()));
  EXPECT_TRUE(dense_strides(type).empty());
  EXPECT_EQ(parse_type(to_string(type)), type);
  Type torn = type;
  torn.layout.resize(torn.layout.size() / 2);
  EXPECT_THROW(cpu::describe(tags, dense_view(torn)), Error);
  expect_round_trip(*make_cpu_backend(), {DType::f32, {4, 3}, {}}, layout);
}

TEST(CpuLayouts, RowsCollapseOnlyWhereEvenlySpaced) {
  const std::vector<std::int64_t> extents{2, 8, 5, 4};
  const std::vector<int> pixels{0, 2, 3};
  const auto stride = [&](std::vector<std::int64_t> strides) {
    return cpu::collapsed_stride(extents, strides, pixels);
  };
  EXPECT_EQ(stride({160, 1, 32, 8}), 8);
  EXPECT_EQ(stride({320, 1, 64, 16}), 16);
  EXPECT_EQ(stride({400, 1, 64, 16}), -1);
  EXPECT_EQ(cpu::collapsed_stride(std::vector<std::int64_t>{1, 8, 1, 1},
                                  std::vector<std::int64_t>{99, 1, 98, 97}, pixels),
            0);
}

}  // namespace
}  // namespace facet::testing
