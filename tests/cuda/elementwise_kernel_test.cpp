#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "backends/cuda/kernels/elementwise.h"
#include "backends/cuda/nvrtc.h"
#include "backends/reference/reference.h"
#include "tests/cuda/host_kernels.h"
#include "tests/cuda/kernel_case.h"
#include "tests/passes/pass_case.h"
#include "tests/support/op_samples.h"
#include "tests/support/paths.h"

// Elementwise kernels: their text (tests/golden/cuda_elementwise.txt; FACET_UPDATE_GOLDEN=1 writes
// it anew), that NVRTC compiles them, and that their arithmetic on the host is the float64
// oracle's.
namespace facet {
namespace {

using cuda::KernelSource;
using ::testing::HasSubstr;

/// The view of a value in its layout; images are channels last where `images` says so.
View view_of(Type type, bool images) {
  type.layout = images && type.rank() == 4 ? "acdb" : "";
  return dense_view(type);
}

KernelSource kernel_of(const Node& node, bool images = true) {
  std::vector<View> operands;
  for (const Value& value : node.operands()) operands.push_back(view_of(value.type(), images));
  return cuda::elementwise_kernel(node, operands, view_of(node.result_types()[0], images));
}

/// The cases of the golden file: a title and a graph whose last node it is.
struct Golden {
  const char* title;
  const char* body;
};
const Golden kGolden[] = {{"one function on dense values: a flat loop, 16 bytes at a time", R"(
  %0 = input() {name = "x", type = "f32[2, 16, 5, 3]"} : f32[2, 16, 5, 3]
  %1 = relu(%0) : f32[2, 16, 5, 3]
  return "y" = %1
)"},
                          {"a residual behind a norm per channel in bf16", R"(
  %0 = input() {name = "x", type = "bf16[2, 64, 7, 7]"} : bf16[2, 64, 7, 7]
  %1 = input() {name = "scale", type = "f32[64, 1, 1]"} : f32[64, 1, 1]
  %2 = input() {name = "shift", type = "f32[64, 1, 1]"} : f32[64, 1, 1]
  %3 = input() {name = "r", type = "bf16[2, 64, 7, 7]"} : bf16[2, 64, 7, 7]
  %4 = elementwise(%0, %1, %2, %3) {dtype = "bf16", program = ["mul 0 1", "add 4 2", "add 5 3", "relu 6"]} : bf16[2, 64, 7, 7]
  return "y" = %4
)"},
                          {"a gate per pixel, and a literal", R"(
  %0 = input() {name = "x", type = "f16[2, 32, 4, 4]"} : f16[2, 32, 4, 4]
  %1 = input() {name = "g", type = "f16[2, 1, 4, 4]"} : f16[2, 1, 4, 4]
  %2 = elementwise(%0, %1) {program = ["sigmoid 1", "mul 0 2", "mul 3 #0.5"]} : f16[2, 32, 4, 4]
  return "y" = %2
)"},
                          {"channels that no vector divides", R"(
  %0 = input() {name = "x", type = "f32[3, 37, 2, 2]"} : f32[3, 37, 2, 2]
  %1 = input() {name = "s", type = "f32[37]"} : f32[37]
  %2 = prelu(%0, %1) : f32[3, 37, 2, 2]
  return "y" = %2
)"},
                          {"another type", R"(
  %0 = input() {name = "x", type = "f32[6, 20]"} : f32[6, 20]
  %1 = cast(%0) {dtype = "bf16"} : bf16[6, 20]
  return "y" = %1
)"}};

TEST(ElementwiseKernel, TextsAreTheGoldenOnes) {
  std::string found = "// Elementwise kernels as they are generated, without the prelude.\n";
  for (const Golden& golden : kGolden) {
    const Graph graph = testing::parse_body(golden.body);
    const KernelSource kernel = kernel_of(*graph.node_list().back());
    found += std::string("\n// ") + golden.title + "; " + std::to_string(kernel.blocks) +
             " blocks\n" + kernel.text;
  }
  const auto path = testing::test_data() / "golden/cuda_elementwise.txt";
  if (std::getenv("FACET_UPDATE_GOLDEN") != nullptr) {
    test::write_bytes(path, found);
    GTEST_SKIP() << "wrote " << path;
  }
  EXPECT_EQ(found, test::read_bytes(path));
}

TEST(ElementwiseKernel, CompilesWithoutSpillsForEveryArchitecture) {
  for (const int architecture : {80, 90, 100}) {
    for (const Golden& golden : kGolden) {
      const Graph graph = testing::parse_body(golden.body);
      const cuda::CompiledKernel compiled =
          cuda::compile_kernel(kernel_of(*graph.node_list().back()), architecture);
      EXPECT_FALSE(compiled.code.empty());
      EXPECT_EQ(compiled.resources.stack_bytes, 0) << golden.title;
      EXPECT_EQ(compiled.resources.spill_bytes, 0) << golden.title;
      EXPECT_LE(compiled.resources.registers, 64) << golden.title;
      if (architecture == 90) {
        std::printf("sm_90, %d registers: %s\n", compiled.resources.registers, golden.title);
      }
    }
  }
}

TEST(ElementwiseKernel, MovesSixteenBytesAtATime) {
  const Graph graph = testing::parse_body(kGolden[1].body);
  const std::string ptx = cuda::kernel_ptx(kernel_of(*graph.node_list().back()), 90);
  int loads = 0;
  int stores = 0;
  for (std::size_t at = ptx.find(".v4."); at != std::string::npos; at = ptx.find(".v4.", at + 1)) {
    const std::string line = ptx.substr(ptx.rfind('\n', at) + 1, at - ptx.rfind('\n', at));
    loads += line.find("ld.global") != std::string::npos ? 1 : 0;
    stores += line.find("st.global") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(loads, 6) << ptx;  // two maps of 16 bytes, scale and shift of 32
  EXPECT_EQ(stores, 1) << ptx;
}

/// A sample of an op in one type and layout, with what the oracle makes of the rounded operands.
struct Case {
  std::string what;
  std::size_t kernel = 0;
  std::vector<std::vector<std::byte>> operands;
  View result;
  HostTensor expected;
};

Case make_case(const OpDef& op, Sample sample, DType dtype, bool images,
               test::HostKernels& kernels) {
  testing::SampleCase reference = testing::make_case(op, sample);
  for (auto& [name, tensor] : reference.inputs) tensor = tensor.cast(dtype).cast(DType::f64);
  for (Type& type : sample.operands) type.dtype = dtype;
  if (sample.attributes.has("dtype")) sample.attributes.set("dtype", std::string(to_string(dtype)));
  const testing::SampleCase typed = testing::make_case(op, sample);
  const Node& node = *typed.graph.node_list().back();
  Case result;
  result.what = testing::describe(op, sample) + (images ? " channels last" : "");
  std::vector<View> views;
  for (int i = 0; i < node.operand_count(); ++i) {
    views.push_back(view_of(node.operand(i).type(), images));
    result.operands.push_back(
        test::lay_out(reference.inputs.at("x" + std::to_string(i)), views.back()));
  }
  result.result = view_of(node.result_types()[0], images);
  result.kernel = kernels.add(cuda::elementwise_kernel(node, views, result.result));
  result.expected = evaluate(reference.graph, reference.inputs, {}).at("y0");
  return result;
}

TEST(ElementwiseKernel, ComputesWhatTheOracleComputes) {
  test::HostKernels kernels;
  std::vector<Case> cases;
  for (const OpDef* op : all_ops()) {
    for (const Sample& sample : op->samples.make()) {
      const testing::SampleCase plain = testing::make_case(*op, sample);
      const Node& node = *plain.graph.node_list().back();
      const bool floats =
          std::ranges::all_of(sample.operands, [](const Type& t) { return t.dtype == DType::f32; });
      if (!cuda::is_elementwise(node) || !floats || !is_float(node.result_types()[0].dtype))
        continue;
      if (node.result_types()[0].dtype == DType::f64) continue;
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        cases.push_back(make_case(*op, sample, dtype, false, kernels));
        if (node.result_types()[0].rank() != 4) continue;
        cases.push_back(make_case(*op, sample, dtype, true, kernels));
      }
    }
  }
  ASSERT_GT(cases.size(), 200U);
  std::printf("%zu cases\n", cases.size());
  kernels.compile();
  for (Case& c : cases) {
    std::vector<void*> parameters;
    for (auto& bytes : c.operands) parameters.push_back(bytes.data());
    std::vector<std::byte> bytes = test::lay_out(
        HostTensor(c.result.type.dtype, static_extents(c.result.type.shape)), c.result);
    parameters.push_back(bytes.data());
    kernels.run(c.kernel, parameters);
    const HostTensor found = test::take_out(bytes, c.result);
    ASSERT_EQ(found.shape(), c.expected.shape()) << c.what;
    for (std::int64_t i = 0; i < found.element_count(); ++i) {
      const double expected = c.expected.at(i);
      if (std::isnan(expected) && std::isnan(found.at(i))) continue;
      ASSERT_NEAR(found.at(i), expected, test::tolerance(expected, c.result.type.dtype))
          << c.what << " at " << i;
    }
  }
}

TEST(ElementwiseKernel, ReadsAndWritesSlicesOfWiderBuffers) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "a", type = "f32[2, 8, 3, 3]"} : f32[2, 8, 3, 3]
  %1 = input() {name = "b", type = "f32[2, 8, 3, 3]"} : f32[2, 8, 3, 3]
  %2 = sub(%0, %1) : f32[2, 8, 3, 3]
  return "y" = %2
)");
  const Node& node = *graph.node_list().back();
  const View dense = view_of(node.result_types()[0], true);
  View slice = dense;  // of 24 channels
  for (const std::size_t axis : {0U, 2U, 3U}) slice.strides[axis] *= 3;
  View odd = dense;  // of 9 channels: no vector fits
  for (const std::size_t axis : {0U, 2U, 3U}) odd.strides[axis] = odd.strides[axis] / 8 * 9;
  const HostTensor a = testing::uniform("a", {2, 8, 3, 3}, -1, 1);
  const HostTensor b = testing::uniform("b", {2, 8, 3, 3}, -1, 1);
  for (const View& result : {slice, odd}) {
    const KernelSource kernel =
        cuda::elementwise_kernel(node, std::vector<View>{slice, dense}, result);
    EXPECT_THAT(kernel.text, HasSubstr(result.strides == odd.strides ? "V = 1;" : "V = 4;"));
    test::HostKernels kernels;
    kernels.add(kernel);
    kernels.compile();
    auto first = test::lay_out(a, slice);
    auto second = test::lay_out(b, dense);
    auto bytes = test::lay_out(HostTensor(DType::f32, {2, 8, 3, 3}), result);
    const auto before = bytes.size();
    kernels.run(0, {first.data(), second.data(), bytes.data()});
    const HostTensor found = test::take_out(bytes, result);
    double written = 0;  // what lies between the slice's rows stays
    for (std::size_t i = 0; i + 4 <= before; i += 4) {
      float value = 0;
      std::copy_n(bytes.data() + i, 4, reinterpret_cast<std::byte*>(&value));
      written += value != 0 ? 1 : 0;
    }
    EXPECT_LE(written, 144);
    for (std::int64_t i = 0; i < found.element_count(); ++i) {
      ASSERT_EQ(found.at(i), static_cast<float>(a.at(i)) - static_cast<float>(b.at(i))) << i;
    }
  }
}

TEST(ElementwiseKernel, OtherTypesAndNodesAreRefused) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f64[4, 4]"} : f64[4, 4]
  %1 = relu(%0) : f64[4, 4]
  %2 = softmax(%1) : f64[4, 4]
  return "y" = %2
)");
  const Node& softmax = *graph.node_list().back();
  EXPECT_THAT(test::error_of([&] { kernel_of(*softmax.operand(0).node); }), HasSubstr("not f64"));
  EXPECT_THAT(test::error_of([&] { kernel_of(softmax); }),
              HasSubstr("'softmax' is no elementwise"));
}

}  // namespace
}  // namespace facet
