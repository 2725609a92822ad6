#include <fmt/format.h>
#include <gtest/gtest.h>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference.h"
#include "tests/cpu/run_node.h"
#include "tests/support/fill.h"

namespace facet::testing {
namespace {

/// The view as a slice of a buffer in which the axis has `extra` more elements per row.
View sliced(const Type& type, std::size_t axis, std::int64_t extra) {
  Type wide = type;
  wide.shape[axis].factor += extra;
  return {type, dense_strides(wide)};
}

/// A conv with bias, residual add and relu whose operands sit in `graph` as inputs x, w, b, r.
struct ConvCase {
  Graph graph;
  Node* conv = nullptr;
  TensorMap inputs;

  ConvCase(DType dtype, Shape x, Shape weight, Shape y, std::int64_t pad, bool concat) {
    const auto input = [&](const char* name, DType type, const Shape& shape) {
      const Type t{type, shape, {}};
      inputs[name] = uniform(name, static_extents(shape), -1, 1).cast(type).cast(DType::f32);
      return graph.create("input", {}, {{"name", std::string(name)}, {"type", to_string(t)}})
          ->result();
    };
    const std::vector<Value> operands{input("x", dtype, x), input("w", dtype, weight),
                                      input("b", DType::f32, {weight[0]}), input("r", dtype, y)};
    conv = graph.create(
        "conv", operands,
        {{"pads", Ints{pad, pad, pad, pad}}, {"epilogue", Strings{"bias", "add", "relu"}}});
    graph.outputs() = {{"y", conv->result()}};
    if (concat) graph.create("concat", {conv->result(), operands[3]}, {{"axis", std::int64_t{1}}});
  }

  /// Puts the chosen layouts on the graph, as the layout pass does.
  void set_layouts(const LayoutChoice& choice) {
    for (int i = 0; i < conv->operand_count(); ++i) {
      Node* producer = conv->operand(i).node;
      producer->set_result_type(0, with_layout(producer->result_types()[0],
                                               choice.operands[static_cast<std::size_t>(i)]));
    }
    conv->set_result_type(0, with_layout(conv->result_types()[0], choice.results[0]));
  }
};

struct Slices {
  bool x, residual, y;
};

/// Runs the conv with the marked values as slices of wider buffers; checks the numbers and that the
/// gaps of the result stay as they were. Returns the implementation.
std::string check(ConvCase& test, const Backend& backend, const LayoutChoice& choice, Slices slices,
                  double tolerance) {
  std::vector<Memory> operands;
  for (int i = 0; i < test.conv->operand_count(); ++i) {
    const Node& input = *test.conv->operand(i).node;
    const Type plain = with_layout(input.result_types()[0], "");
    const HostTensor& values = test.inputs.at(input.attributes().text("name"));
    const Layout& layout = choice.operands[static_cast<std::size_t>(i)];
    const bool slice = (i == 0 && slices.x) || (i == 3 && slices.residual);
    if (slice) {
      // A residual that lies beside the result, in a buffer of the same width, or elsewhere.
      const std::int64_t extra = i == 3 && slices.y ? 24 : 40;
      operands.push_back(store(values, sliced(with_layout(plain, layout), 1, extra)));
    } else {
      operands.push_back(reordered(backend, store(values, dense_view(plain)), layout));
    }
  }
  const Type type = with_layout(test.conv->result_types()[0], choice.results[0]);
  const Memory result = allocate(slices.y ? sliced(type, 1, 24) : dense_view(type));
  std::vector<bool> written(span_bytes(result.view));
  std::memset(result.data(), 0x7B, written.size());
  const std::string implementation = run_kernel(backend, *test.conv, operands, result);
  const auto expected = evaluate(test.graph, test.inputs, {});
  EXPECT_LE(relative_l2(load(result), expected.at("y")), tolerance) << implementation;
  const std::int64_t size = size_of(type.dtype);
  for_each_element(result.view, [&](std::int64_t, std::int64_t offset) {
    for (std::int64_t i = 0; i < size; ++i)
      written[static_cast<std::size_t>(offset * size + i)] = true;
  });
  for (std::size_t i = 0; i < written.size(); ++i) {
    if (!written[i] && result.data()[i] != std::byte{0x7B}) {
      ADD_FAILURE() << "wrote into the gap at byte " << i << " by " << implementation;
      break;
    }
  }
  return implementation;
}

class CpuSlices : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (!backend_->multiplies(GetParam())) {
      GTEST_SKIP() << "this processor multiplies no " << to_string(GetParam())
                   << ": OpMatrix runs what is computed in f32 in its place";
    }
  }

  double tolerance() const { return GetParam() == DType::f32 ? 1e-5 : 1e-2; }

  std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

/// A backend that says it reads and writes slices makes no copies of them; one that says it does
/// not gets the numbers right all the same.
void check_slices(const Backend& backend, ConvCase& test, double tolerance) {
  const LayoutChoice choice = backend.choose_layouts(*test.conv);
  test.set_layouts(choice);
  const bool reads = backend.reads_slices(*test.conv, 0);
  const bool reads_residual = backend.reads_slices(*test.conv, 3);
  const bool writes = backend.writes_slices(*test.conv, 0);
  for (int bits = 0; bits < 8; ++bits) {
    const Slices slices{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
    const std::string name = check(test, backend, choice, slices, tolerance);
    const bool fits =
        (reads || !slices.x) && (reads_residual || !slices.residual) && (writes || !slices.y);
    if (fits) {
      EXPECT_EQ(name.find("copies"), std::string::npos) << name << " " << bits;
    }
  }
}

TEST_P(CpuSlices, ConvolutionsMakeNoCopiesWhereTheySaySo) {
  for (const std::int64_t batch : {1, 3}) {
    ConvCase pointwise(GetParam(), {batch, 32, 7, 5}, {48, 32, 1, 1}, {batch, 48, 7, 5}, 0, true);
    check_slices(*backend_, pointwise, tolerance());
    EXPECT_TRUE(backend_->reads_slices(*pointwise.conv, 0));
    ConvCase window(GetParam(), {batch, 32, 7, 5}, {48, 32, 3, 3}, {batch, 48, 7, 5}, 1, true);
    check_slices(*backend_, window, tolerance());
  }
}

TEST_P(CpuSlices, WindowsReadAndWriteSlicesByTheDirectKernel) {
  const CpuFeatures features = cpu_features();
  const bool is_f32 = GetParam() == DType::f32;
  if (is_f32 ? !features.avx2 : !features.avx512_bf16 || features.amx_bf16) {
    GTEST_SKIP() << "the direct kernel needs AVX2, for bf16 AVX-512 with bf16 and no AMX";
  }
  const auto backend = make_cpu_backend();
  const std::map<std::int64_t, std::string> kernels{{24, "direct:"}, {32, "winograd:"}};
  for (const auto& [channels, kernel] : kernels) {
    ConvCase test(GetParam(), {2, channels, 59, 47}, {48, channels, 3, 3}, {2, 48, 59, 47}, 1,
                  true);
    const LayoutChoice choice = backend->choose_layouts(*test.conv);
    test.set_layouts(choice);
    EXPECT_TRUE(backend->reads_slices(*test.conv, 0));
    EXPECT_TRUE(backend->writes_slices(*test.conv, 0));
    EXPECT_EQ(check(test, *backend, choice, {true, true, true}, tolerance()).find(kernel), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CpuSlices, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST(CpuSlices, PointwiseWithoutResidualWritesSlices) {
  const auto backend = make_cpu_backend();
  Graph graph;
  const auto input = [&](const char* name, Type type) {
    return graph.create("input", {}, {{"name", std::string(name)}, {"type", to_string(type)}})
        ->result();
  };
  const Value x = input("x", {DType::f32, {"N", 144, 15, 15}, {}});
  const Value w = input("w", {DType::f32, {48, 144, 1, 1}, {}});
  const Value b = input("b", {DType::f32, {48}, {}});
  Node* conv = graph.create("conv", {x, w, b}, {{"epilogue", Strings{"bias", "relu"}}});
  graph.create("concat", {x, conv->result()}, {{"axis", std::int64_t{1}}});
  const LayoutChoice choice = backend->choose_layouts(*conv);
  x.node->set_result_type(0, with_layout(x.type(), choice.operands[0]));
  w.node->set_result_type(0, with_layout(w.type(), choice.operands[1]));
  conv->set_result_type(0, with_layout(conv->result_types()[0], choice.results[0]));
  EXPECT_TRUE(backend->writes_slices(*conv, 0));
  EXPECT_TRUE(backend->reads_slices(*conv, 0));
}

TEST(CpuSlices, LinearReadsAndWritesRowsOfAWiderBuffer) {
  const auto backend = make_cpu_backend();
  for (const Shape& lead : {Shape{5}, Shape{2, 3}}) {
    Shape x_shape = lead;
    x_shape.push_back(20);
    Shape y_shape = lead;
    y_shape.push_back(12);
    const std::size_t last = lead.size();
    Graph graph;
    const auto input = [&](const char* name, Type type) {
      return graph.create("input", {}, {{"name", std::string(name)}, {"type", to_string(type)}})
          ->result();
    };
    const Value x = input("x", {DType::f32, x_shape, {}});
    const Value w = input("w", {DType::f32, {12, 20}, {}});
    Node* node = graph.create("linear", {x, w}, {{"epilogue", Strings{"relu"}}});
    graph.outputs() = {{"y", node->result()}};
    const TensorMap inputs{{"x", uniform("x", static_extents(x_shape), -1, 1)},
                           {"w", uniform("w", {12, 20}, -1, 1)}};
    EXPECT_TRUE(backend->reads_slices(*node, 0));
    EXPECT_TRUE(backend->writes_slices(*node, 0));
    const auto expected = evaluate(graph, inputs, {});
    for (const std::size_t axis : {last, std::size_t{0}}) {
      // A longer first axis leaves no gaps; a longer second one spaces rows unevenly.
      const std::size_t sliced_axis = axis == 0 && last > 1 ? 1 : axis;
      const std::vector<Memory> operands{store(inputs.at("x"), sliced(x.type(), sliced_axis, 4)),
                                         store(inputs.at("w"), dense_view(w.type()))};
      const Memory result = allocate(sliced(node->result_types()[0], last, 8));
      run_kernel(*backend, *node, operands, result);
      EXPECT_LE(relative_l2(load(result), expected.at("y")), 1e-5);
    }
  }
}

}  // namespace
}  // namespace facet::testing
