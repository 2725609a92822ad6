#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/kernels/batch_norm.h"
#include "backends/cuda/kernels/pooling.h"
#include "tests/cuda/sample_kernels.h"
#include "tests/passes/pass_case.h"

// Kernels for pooling and batch norms: text (tests/golden/cuda_images.txt; FACET_UPDATE_GOLDEN=1
// writes it anew), that NVRTC compiles them, and that what they compute on the host is what the
// float64 oracle computes.
namespace facet {
namespace {

using ::testing::HasSubstr;

/// Of a batch norm only x, dy and the like have several axes.
const test::KernelFamily& family() {
  static const test::KernelFamily list{
      [](const Node& node, std::span<const View> operands, std::span<const View> results) {
        return cuda::is_pooling(node) ? cuda::pooling_kernels(node, operands, results)
                                      : cuda::batch_norm_kernels(node, operands, results);
      },
      {},
      [](const Node& node, int operand) { return node.operand(operand).type().rank() == 1; }};
  return list;
}

const test::GoldenKernel kGolden[] = {
    {"the largest of overlapping windows", R"(
  %0 = input() {name = "x", type = "bf16[4, 64, 56, 56]@acdb"} : bf16[4, 64, 56, 56]@acdb
  %1 = max_pool(%0) {kernel = [3, 3], pads = [1, 1, 1, 1]} : bf16[4, 64, 28, 28]@acdb
  return "y" = %1
)"},
    {"its gradient", R"(
  %0 = input() {name = "dy", type = "bf16[4, 64, 28, 28]@acdb"} : bf16[4, 64, 28, 28]@acdb
  %1 = input() {name = "x", type = "bf16[4, 64, 56, 56]@acdb"} : bf16[4, 64, 56, 56]@acdb
  %2 = max_pool_bwd(%0, %1) {kernel = [3, 3], pads = [1, 1, 1, 1]} : bf16[4, 64, 56, 56]@acdb
  return "dx" = %2
)"},
    {"the gradient of a mean", R"(
  %0 = input() {name = "dy", type = "f32[4, 64, 28, 28]@acdb"} : f32[4, 64, 28, 28]@acdb
  %1 = avg_pool_bwd(%0) {height = 56, width = 56} : f32[4, 64, 56, 56]@acdb
  return "dx" = %1
)"},
    {"batch norm and a residual", R"(
  %0 = input() {name = "x", type = "bf16[32, 64, 56, 56]@acdb"} : bf16[32, 64, 56, 56]@acdb
  %1 = input() {name = "c", type = "f32[64]"} : f32[64]
  %2:5 = batch_norm_train(%0, %1, %1, %1, %1, %0) {tail = ["add"]} : (bf16[32, 64, 56, 56]@acdb, f32[64], f32[64], f32[64], f32[64])
  return "y" = %2.0
)"},
    {"the gradient of batch norm, add and relu", R"(
  %0 = input() {name = "x", type = "bf16[32, 256, 14, 14]@acdb"} : bf16[32, 256, 14, 14]@acdb
  %1 = input() {name = "c", type = "f32[256]"} : f32[256]
  %2:4 = batch_norm_bwd(%0, %0, %1, %1, %1, %0) {tail = ["add", "relu"]} : (bf16[32, 256, 14, 14]@acdb, f32[256], f32[256], bf16[32, 256, 14, 14]@acdb)
  return "dx" = %2.0
)"},
    {"the gradient of batch norm and a prelu of one slope, over scores", R"(
  %0 = input() {name = "x", type = "f32[8, 24, 49, 49]"} : f32[8, 24, 49, 49]
  %1 = input() {name = "c", type = "f32[24]"} : f32[24]
  %2 = input() {name = "s", type = "f32[1]"} : f32[1]
  %3:4 = batch_norm_bwd(%0, %0, %1, %1, %1, %1, %2) {tail = ["prelu"]} : (f32[8, 24, 49, 49], f32[24], f32[24], f32[1])
  return "dx" = %3.0
)"}};

TEST(ImageKernels, TextsAreTheGoldenOnes) {
  test::expect_golden_texts(family(), kGolden, "cuda_images.txt", "Pooling and batch norms");
}

TEST(ImageKernels, CompileWithoutSpillsForEveryArchitecture) {
  test::expect_no_spills(family(), kGolden, 72);
}

/// The op's own samples, and larger ones that take several parts and vectors.
std::vector<Sample> samples_of(const OpDef& op) {
  std::vector<Sample> samples = op.samples.make();
  const Type map{DType::f32, {2, 24, 23, 21}, {}};
  const Type half{DType::f32, {2, 24, 11, 10}, {}};
  const Type wide{DType::f32, {5, 36, 30, 20}, {}};
  const Type c{DType::f32, {36}, {}};
  const Type large{DType::f32, {2, 3, 100, 90}, {}};
  const Type three{DType::f32, {3}, {}};
  const Attributes window{{"kernel", Ints{3, 3}}};
  if (op.name == "max_pool" || op.name == "avg_pool") samples.push_back({{map}, window});
  if (op.name == "max_pool_bwd") samples.push_back({{half, map}, window});
  if (op.name == "avg_pool_bwd") {
    samples.push_back(
        {{half},
         {{"kernel", Ints{3, 3}}, {"height", std::int64_t{23}}, {"width", std::int64_t{21}}}});
  }
  if (op.name == "batch_norm_train") {
    samples.push_back({{wide, c, c, c, c, c}, {{"tail", Strings{"prelu"}}}, 9, 11});
    samples.push_back({{wide, c, c, c, c, wide}, {{"tail", Strings{"add"}}}});
    samples.push_back({{large, three, three, three, three}, {}});
  }
  if (op.name == "batch_norm_bwd") {
    samples.push_back({{wide, wide, c, c, c, c, c}, {{"tail", Strings{"prelu"}}}});
    samples.push_back({{wide, wide, c, c, c, wide}, {{"tail", Strings{"add", "relu"}}}});
    samples.push_back({{large, large, three, three, three}, {}});
  }
  return samples;
}

/// A batch_norm_bwd that adds two cotangents and keeps what passes the relu of their sum.
bool rounds_a_sum(const Sample& sample) {
  return sample.operands.size() > 6 && sample.operands[6].rank() == 4;
}

TEST(ImageKernels, ASumOfTwoCotangentsIsRoundedOnce) {
  test::SampleKernels kernels(family());
  const OpDef& op = find_op("batch_norm_bwd");
  for (const Sample& sample : samples_of(op)) {
    if (!rounds_a_sum(sample)) continue;
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      for (const char* layout : {"", "acdb"}) kernels.add(op, sample, dtype, layout);
    }
  }
  ASSERT_EQ(kernels.size(), 6U);
  // Half a step of a sum of 2, times a scale of 1 and one over a deviation of 1.
  kernels.check([](DType dtype) {
    return dtype == DType::bf16 ? 8e-3 : dtype == DType::f16 ? 1e-3 : 2e-4;
  });
}

TEST(ImageKernels, ComputeWhatTheOracleComputes) {
  test::SampleKernels kernels(family());
  for (const char* name :
       {"max_pool", "avg_pool", "max_pool_bwd", "avg_pool_bwd", "max_pool_dilated",
        "max_pool_dilated_bwd", "batch_norm_train", "batch_norm_bwd"}) {
    const OpDef& op = find_op(name);
    for (const Sample& sample : samples_of(op)) {
      if (op.name == "batch_norm_bwd" && rounds_a_sum(sample)) continue;  // above
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        kernels.add(op, sample, dtype);
        if (sample.operands[0].rank() == 4) kernels.add(op, sample, dtype, "acdb");
      }
    }
  }
  ASSERT_GT(kernels.size(), 150U);
  // Half a bit of a mean of 10 is 5e-7: times 1.7 (one over the deviation), a scale of 10 and a
  // slope of 10 that is 9e-5.
  kernels.check([](DType) { return 2e-4; });
}

TEST(ImageKernels, AMeanFarFromZeroCostsNoBits) {
  test::SampleKernels kernels(family());
  const Type x{DType::f32, {4, 8, 20, 20}, {}};
  const Type c{DType::f32, {8}, {}};
  // x has steps of 6e-5 and the scale is 1000. The variance is 1/3; as the mean of the squares less
  // the mean's square it would be a difference of millions, off by 0.1 and more.
  kernels.add(find_op("batch_norm_train"), {{x, c, c, c, c}, {}, 999, 1001}, DType::f32, "acdb");
  kernels.check([](DType) { return 6e-2; });
}

TEST(ImageKernels, OthersAreRefused) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "dy", type = "f32[1, 4, 1, 1]"} : f32[1, 4, 1, 1]
  %1 = input() {name = "x", type = "f32[1, 4, 16, 16]"} : f32[1, 4, 16, 16]
  %2 = max_pool_bwd(%0, %1) {kernel = [16, 16], strides = [1, 1]} : f32[1, 4, 16, 16]
  %3 = relu(%2) : f32[1, 4, 16, 16]
  return "y" = %3
)");
  const Node& relu = *graph.node_list().back();
  const Node& pool = *relu.operand(0).node;
  EXPECT_THAT(test::error_of([&] { test::kernels_of(family(), pool); }),
              HasSubstr("takes windows of at most 255 elements, not 256"));
  EXPECT_THAT(test::error_of([&] { cuda::pooling_kernels(relu, {}, {}); }),
              HasSubstr("'relu' is no pooling of floats"));
  EXPECT_THAT(test::error_of([&] { cuda::batch_norm_kernels(relu, {}, {}); }),
              HasSubstr("'relu' is no batch norm of a training step"));
}

}  // namespace
}  // namespace facet
