#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "backends/cuda/kernels/reduction.h"
#include "backends/cuda/kernels/softmax.h"
#include "backends/cuda/nvrtc.h"
#include "backends/reference/reference.h"
#include "tests/cuda/host_kernels.h"
#include "tests/cuda/kernel_case.h"
#include "tests/passes/pass_case.h"
#include "tests/support/op_samples.h"
#include "tests/support/paths.h"

// Reductions and softmax: text (tests/golden/cuda_rows.txt; FACET_UPDATE_GOLDEN=1 writes it anew),
// that NVRTC compiles them, and that their arithmetic on the host is the float64 oracle's.
namespace facet {
namespace {

using cuda::KernelArgument;
using cuda::KernelSequence;
using cuda::KernelSource;
using ::testing::HasSubstr;

View view_of(Type type, bool images) {
  type.layout = images && type.rank() == 4 ? "acdb" : "";
  return dense_view(type);
}

bool has_kernel(const Node& node) {
  return cuda::is_reduction(node) || node.is("softmax") || node.is("softmax_bwd");
}

KernelSequence kernels_of(const Node& node, bool images) {
  std::vector<View> operands;
  for (const Value& value : node.operands()) operands.push_back(view_of(value.type(), images));
  const View result = view_of(node.result_types()[0], images);
  if (cuda::is_reduction(node)) return cuda::reduction_kernels(node, operands[0], result);
  return {{cuda::softmax_kernel(node, operands, result)}, 0};
}

struct Golden {
  const char* title;
  const char* body;
};
const Golden kGolden[] = {
    {"the mean over an image: four pixels under each other", R"(
  %0 = input() {name = "x", type = "bf16[4, 64, 7, 7]"} : bf16[4, 64, 7, 7]
  %1 = reduce_mean(%0) {axes = [2, 3]} : bf16[4, 64, 1, 1]
  return "y" = %1
)"},
    {"the largest of the channels of each pixel: neighbours, a warp for each", R"(
  %0 = input() {name = "x", type = "f32[2, 40, 3, 3]"} : f32[2, 40, 3, 3]
  %1 = reduce_max(%0) {axes = [1]} : f32[2, 1, 3, 3]
  return "y" = %1
)"},
    {"the sum of everything", R"(
  %0 = input() {name = "x", type = "f32[6, 35]"} : f32[6, 35]
  %1 = reduce_sum(%0) {axes = [0, 1], keepdims = false} : f32[]
  return "y" = %1
)"},
    {"the gradient of a bias: parts of 32 pixels under each other, then their sum", R"(
  %0 = input() {name = "x", type = "bf16[128, 64, 112, 112]"} : bf16[128, 64, 112, 112]
  %1 = reduce_sum(%0) {axes = [0, 2, 3], keepdims = false} : bf16[64]
  return "y" = %1
)"},
    {"the sum of many numbers: blocks, then a warp", R"(
  %0 = input() {name = "x", type = "f32[512, 4608]"} : f32[512, 4608]
  %1 = reduce_sum(%0) {axes = [0, 1], keepdims = false} : f32[]
  return "y" = %1
)"},
    {"softmax of rows", R"(
  %0 = input() {name = "x", type = "bf16[3, 10, 197]"} : bf16[3, 10, 197]
  %1 = softmax(%0) : bf16[3, 10, 197]
  return "y" = %1
)"},
    {"its gradient", R"(
  %0 = input() {name = "dy", type = "f32[30, 197]"} : f32[30, 197]
  %1 = input() {name = "y", type = "f32[30, 197]"} : f32[30, 197]
  %2 = softmax_bwd(%0, %1) : f32[30, 197]
  return "y" = %2
)"}};

TEST(RowKernels, TextsAreTheGoldenOnes) {
  std::string found = "// Reductions and softmax as they are generated, without the prelude.\n";
  for (const Golden& golden : kGolden) {
    const Graph graph = testing::parse_body(golden.body);
    const KernelSequence sequence = kernels_of(*graph.node_list().back(), true);
    found += std::string("\n// ") + golden.title + "; " + std::to_string(sequence.scratch_bytes) +
             " bytes of scratch\n";
    for (const KernelSource& kernel : sequence.kernels) found += kernel.text;
  }
  const auto path = testing::test_data() / "golden/cuda_rows.txt";
  if (std::getenv("FACET_UPDATE_GOLDEN") != nullptr) {
    test::write_bytes(path, found);
    GTEST_SKIP() << "wrote " << path;
  }
  EXPECT_EQ(found, test::read_bytes(path));
}

TEST(RowKernels, CompileWithoutSpillsForEveryArchitecture) {
  for (const int architecture : {80, 90, 100}) {
    for (const Golden& golden : kGolden) {
      const Graph graph = testing::parse_body(golden.body);
      for (const KernelSource& kernel : kernels_of(*graph.node_list().back(), true).kernels) {
        const cuda::KernelResources resources =
            cuda::compile_kernel(kernel, architecture).resources;
        EXPECT_EQ(resources.stack_bytes, 0) << golden.title;
        EXPECT_EQ(resources.spill_bytes, 0) << golden.title;
        EXPECT_LE(resources.registers, 64) << golden.title;
        if (architecture == 90)
          std::printf("sm_90, %d registers: %s\n", resources.registers, golden.title);
      }
    }
  }
}

/// A sample in one type and layout.
struct Case {
  std::string what;
  KernelSequence sequence;
  std::vector<std::size_t> numbers;  ///< of its kernels
  std::vector<std::vector<std::byte>> operands;
  View result;
  HostTensor expected;
};

void add_case(std::vector<Case>& cases, const OpDef& op, Sample sample, DType dtype, bool images,
              test::HostKernels& kernels) {
  testing::SampleCase reference = testing::make_case(op, sample);
  for (auto& [name, tensor] : reference.inputs) tensor = tensor.cast(dtype).cast(DType::f64);
  for (Type& type : sample.operands) type.dtype = dtype;
  const testing::SampleCase typed = testing::make_case(op, sample);
  const Node& node = *typed.graph.node_list().back();
  Case result;
  result.what = testing::describe(op, sample) + (images ? " channels last" : "");
  for (int i = 0; i < node.operand_count(); ++i) {
    result.operands.push_back(test::lay_out(reference.inputs.at("x" + std::to_string(i)),
                                            view_of(node.operand(i).type(), images)));
  }
  result.result = view_of(node.result_types()[0], images);
  result.sequence = kernels_of(node, images);
  for (const KernelSource& kernel : result.sequence.kernels)
    result.numbers.push_back(kernels.add(kernel));
  result.expected = evaluate(reference.graph, reference.inputs, {}).at("y0");
  cases.push_back(std::move(result));
}

HostTensor run(Case& c, const test::HostKernels& kernels) {
  std::vector<std::byte> bytes =
      test::lay_out(HostTensor(c.result.type.dtype, static_extents(c.result.type.shape)), c.result);
  std::vector<float> temporary(static_cast<std::size_t>(c.sequence.scratch_bytes) / sizeof(float) +
                               4);
  for (std::size_t k = 0; k < c.numbers.size(); ++k) {
    std::vector<void*> parameters;
    for (const KernelArgument& argument : c.sequence.kernels[k].arguments) {
      using enum KernelArgument::Place;
      parameters.push_back(argument.place == operand
                               ? c.operands.at(static_cast<std::size_t>(argument.index)).data()
                           : argument.place == result ? static_cast<void*>(bytes.data())
                                                      : temporary.data());
    }
    kernels.run(c.numbers[k], parameters);
  }
  return test::take_out(bytes, c.result);
}

/// The op's own samples, and larger ones that take several parts and vectors.
std::vector<Sample> samples_of(const OpDef& op) {
  std::vector<Sample> samples = op.samples.make();
  const Type map{DType::f32, {3, 24, 11, 9}, {}};
  const Type rows{DType::f32, {5, 333}, {}};
  const Type many{DType::f32, {4, 64, 30, 30}, {}};  // parts both ways
  const Type long_rows{DType::f32, {3, 9001}, {}};
  if (op.name == "softmax") samples.push_back({{rows}, {}, -4, 4});
  if (op.name == "softmax_bwd") samples.push_back({{rows, rows}, {}});
  if (op.name.starts_with("reduce_")) {
    samples.push_back({{map}, {{"axes", Ints{2, 3}}}});
    samples.push_back({{map}, {{"axes", Ints{1}}}});
    samples.push_back({{map}, {{"axes", Ints{0, 2, 3}}, {"keepdims", false}}});
    samples.push_back({{map}, {{"axes", Ints{0, 1, 2, 3}}, {"keepdims", false}}});
    samples.push_back({{rows}, {{"axes", Ints{-1}}}});
    samples.push_back({{many}, {{"axes", Ints{0, 2, 3}}, {"keepdims", false}}});
    samples.push_back({{many}, {{"axes", Ints{0, 1, 2, 3}}}});
    samples.push_back({{long_rows}, {{"axes", Ints{1}}}});
  }
  return samples;
}

TEST(RowKernels, ComputeWhatTheOracleComputes) {
  test::HostKernels kernels;
  std::vector<Case> cases;
  for (const char* name : {"reduce_sum", "reduce_mean", "reduce_max", "softmax", "softmax_bwd"}) {
    const OpDef& op = find_op(name);
    for (const Sample& sample : samples_of(op)) {
      const testing::SampleCase plain = testing::make_case(op, sample);
      const Node& node = *plain.graph.node_list().back();
      if (!has_kernel(node)) continue;  // whole numbers
      if (element_count(node.result_types()[0].shape) == element_count(node.operand(0).shape()) &&
          cuda::is_reduction(node)) {
        continue;  // a copy
      }
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        add_case(cases, op, sample, dtype, false, kernels);
        if (node.operand(0).type().rank() == 4) add_case(cases, op, sample, dtype, true, kernels);
      }
    }
  }
  ASSERT_GT(cases.size(), 80U);
  std::printf("%zu cases\n", cases.size());
  kernels.compile();
  for (Case& c : cases) {
    const HostTensor found = run(c, kernels);
    ASSERT_EQ(found.shape(), c.expected.shape()) << c.what;
    double total = 0;  // sums of many numbers lose bits of the largest partial sum
    for (const auto& bytes : c.operands) total = std::max(total, static_cast<double>(bytes.size()));
    for (std::int64_t i = 0; i < found.element_count(); ++i) {
      const double expected = c.expected.at(i);
      ASSERT_NEAR(found.at(i), expected,
                  test::tolerance(expected, c.result.type.dtype) + 1e-8 * total)
          << c.what << " at " << i;
    }
  }
}

TEST(RowKernels, TheGradientOfABiasIsASum) {
  const View dy = view_of(Type{DType::bf16, {32, 64, 14, 14}, {}}, true);
  const View db = dense_view(Type{DType::f32, {64}, {}});
  const KernelSequence sequence = cuda::reduction_kernels("reduce_sum", {0, 2, 3}, dy, 0, db, 1);
  ASSERT_EQ(sequence.kernels.size(), 2U);
  EXPECT_EQ(sequence.scratch_bytes, 24 * 64 * 4);
  const std::vector<KernelArgument> first{{KernelArgument::Place::operand, 0},
                                          {KernelArgument::Place::scratch, 0}};
  const std::vector<KernelArgument> second{{KernelArgument::Place::scratch, 0},
                                           {KernelArgument::Place::result, 1}};
  EXPECT_EQ(sequence.kernels[0].arguments, first);
  EXPECT_EQ(sequence.kernels[1].arguments, second);
  EXPECT_THAT(sequence.kernels[0].text, HasSubstr("constexpr int V = 8;"));
}

TEST(RowKernels, FewResultsOfManyElementsTakeTheWholeDevice) {
  const View dy = view_of(Type{DType::bf16, {128, 64, 112, 112}, {}}, true);
  const View db = dense_view(Type{DType::f32, {64}, {}});
  const auto columns = cuda::reduction_kernels("reduce_sum", {0, 2, 3}, dy, 0, db, 0).kernels;
  ASSERT_EQ(columns.size(), 2U);
  EXPECT_EQ(columns[0].blocks, 528);
  EXPECT_EQ(columns[0].threads, 256);
  const View all = dense_view(Type{DType::f32, {}, {}});
  const auto rows = cuda::reduction_kernels("reduce_sum", {0, 1, 2, 3}, dy, 0, all, 0).kernels;
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].blocks, 528);
  EXPECT_EQ(rows[1].blocks, 1);
}

TEST(RowKernels, MoreRowsThanThereCanBeWarpsAreSummedByThreads) {
  const View x = dense_view(Type{DType::bf16, {1 << 27, 2}, {}});
  const View y = dense_view(Type{DType::f32, {1 << 27}, {}});
  const KernelSequence sequence = cuda::reduction_kernels("reduce_sum", {1}, x, 0, y, 0);
  ASSERT_EQ(sequence.kernels.size(), 1U);
  EXPECT_EQ(sequence.kernels[0].blocks, (1 << 27) / 8 / 256);
  EXPECT_THAT(sequence.kernels[0].text, ::testing::Not(HasSubstr("kLanes")));
}

TEST(RowKernels, WhatIsNoReductionIsRefused) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[4, 1]"} : f32[4, 1]
  %1 = relu(%0) : f32[4, 1]
  %2 = reduce_sum(%1) {axes = [1]} : f32[4, 1]
  return "y" = %2
)");
  const Node& sum = *graph.node_list().back();
  const View view = dense_view(sum.operand(0).type());
  EXPECT_THAT(test::error_of([&] { cuda::reduction_kernels(sum, view, view); }),
              HasSubstr("is a copy"));
  const Node& relu = *sum.operand(0).node;
  EXPECT_THAT(test::error_of([&] { cuda::reduction_kernels(relu, view, view); }),
              HasSubstr("'relu'"));
  EXPECT_THAT(test::error_of([&] { cuda::softmax_kernel(relu, std::vector<View>{view}, view); }),
              HasSubstr("'relu' is no softmax"));
}

}  // namespace
}  // namespace facet
