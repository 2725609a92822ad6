#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "backends/cuda/kernels/batch_norm.h"
#include "backends/cuda/kernels/pooling.h"
#include "backends/cuda/nvrtc.h"
#include "tests/cuda/node_case.h"
#include "tests/passes/pass_case.h"
#include "tests/support/paths.h"

// Kernels for pooling and batch norms: text (tests/golden/cuda_images.txt; FACET_UPDATE_GOLDEN=1
// writes it anew), that NVRTC compiles them, and that their arithmetic on the host is the float64
// oracle's.
namespace facet {
namespace {

using cuda::KernelSequence;
using cuda::KernelSource;
using ::testing::HasSubstr;

KernelSequence kernels_of(const Node& node, std::span<const View> operands,
                          std::span<const View> results) {
  return cuda::is_pooling(node) ? cuda::pooling_kernels(node, operands, results)
                                : cuda::batch_norm_kernels(node, operands, results);
}

KernelSequence kernels_of(const Node& node, bool images) {
  std::vector<View> operands;
  for (const Value& value : node.operands()) {
    operands.push_back(test::case_view(value.type(), images));
  }
  std::vector<View> results;
  for (const Type& type : node.result_types()) results.push_back(test::case_view(type, images));
  return kernels_of(node, operands, results);
}

struct Golden {
  const char* title;
  bool images;
  const char* body;
};
const Golden kGolden[] = {
    {"the largest of overlapping windows, NHWC", true, R"(
  %0 = input() {name = "x", type = "bf16[4, 64, 56, 56]"} : bf16[4, 64, 56, 56]
  %1 = max_pool(%0) {kernel = [3, 3], pads = [1, 1, 1, 1]} : bf16[4, 64, 28, 28]
  return "y" = %1
)"},
    {"its gradient", true, R"(
  %0 = input() {name = "dy", type = "bf16[4, 64, 28, 28]"} : bf16[4, 64, 28, 28]
  %1 = input() {name = "x", type = "bf16[4, 64, 56, 56]"} : bf16[4, 64, 56, 56]
  %2 = max_pool_bwd(%0, %1) {kernel = [3, 3], pads = [1, 1, 1, 1]} : bf16[4, 64, 56, 56]
  return "dx" = %2
)"},
    {"the gradient of a mean", true, R"(
  %0 = input() {name = "dy", type = "f32[4, 64, 28, 28]"} : f32[4, 64, 28, 28]
  %1 = avg_pool_bwd(%0) {height = 56, width = 56} : f32[4, 64, 56, 56]
  return "dx" = %1
)"},
    {"batch norm and a residual, NHWC", true, R"(
  %0 = input() {name = "x", type = "bf16[32, 64, 56, 56]"} : bf16[32, 64, 56, 56]
  %1 = input() {name = "c", type = "f32[64]"} : f32[64]
  %2:5 = batch_norm_train(%0, %1, %1, %1, %1, %0) {tail = ["add"]} : (bf16[32, 64, 56, 56], f32[64], f32[64], f32[64], f32[64])
  return "y" = %2.0
)"},
    {"the gradient of batch norm, add and relu, NHWC", true, R"(
  %0 = input() {name = "x", type = "bf16[32, 256, 14, 14]"} : bf16[32, 256, 14, 14]
  %1 = input() {name = "c", type = "f32[256]"} : f32[256]
  %2:4 = batch_norm_bwd(%0, %0, %1, %1, %1, %0) {tail = ["add", "relu"]} : (bf16[32, 256, 14, 14], f32[256], f32[256], bf16[32, 256, 14, 14])
  return "dx" = %2.0
)"},
    {"the gradient of batch norm and a prelu of one slope, over scores", false, R"(
  %0 = input() {name = "x", type = "f32[8, 24, 49, 49]"} : f32[8, 24, 49, 49]
  %1 = input() {name = "c", type = "f32[24]"} : f32[24]
  %2 = input() {name = "s", type = "f32[1]"} : f32[1]
  %3:4 = batch_norm_bwd(%0, %0, %1, %1, %1, %1, %2) {tail = ["prelu"]} : (f32[8, 24, 49, 49], f32[24], f32[24], f32[1])
  return "dx" = %3.0
)"}};

TEST(ImageKernels, TextsAreTheGoldenOnes) {
  std::string found = "// Pooling and batch norms as they are generated, without the prelude.\n";
  for (const Golden& golden : kGolden) {
    const Graph graph = testing::parse_body(golden.body);
    const KernelSequence sequence = kernels_of(*graph.node_list().back(), golden.images);
    found += std::string("\n// ") + golden.title + "; " + std::to_string(sequence.scratch_bytes) +
             " bytes of scratch\n";
    for (const KernelSource& kernel : sequence.kernels) found += kernel.text;
  }
  const auto path = testing::test_data() / "golden/cuda_images.txt";
  if (std::getenv("FACET_UPDATE_GOLDEN") != nullptr) {
    test::write_bytes(path, found);
    GTEST_SKIP() << "wrote " << path;
  }
  EXPECT_EQ(found, test::read_bytes(path));
}

TEST(ImageKernels, CompileWithoutSpillsForEveryArchitecture) {
  for (const int architecture : {80, 90, 100}) {
    for (const Golden& golden : kGolden) {
      const Graph graph = testing::parse_body(golden.body);
      for (const KernelSource& kernel :
           kernels_of(*graph.node_list().back(), golden.images).kernels) {
        const cuda::KernelResources resources =
            cuda::compile_kernel(kernel, architecture).resources;
        EXPECT_EQ(resources.stack_bytes, 0) << golden.title;
        EXPECT_EQ(resources.spill_bytes, 0) << golden.title;
        EXPECT_LE(resources.registers, 128) << golden.title;
        if (architecture == 90) {
          std::printf("sm_90, %d registers: %s, %s\n", resources.registers, golden.title,
                      kernel.name.c_str());
        }
      }
    }
  }
}

/// The op's own samples, and larger ones that take several parts and vectors.
std::vector<Sample> samples_of(const OpDef& op) {
  std::vector<Sample> samples = op.samples.make();
  const Type map{DType::f32, {2, 24, 23, 21}, {}};
  const Type half{DType::f32, {2, 24, 11, 10}, {}};
  const Type wide{DType::f32, {3, 36, 19, 12}, {}};
  const Type c{DType::f32, {36}, {}};
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
  }
  if (op.name == "batch_norm_bwd") {
    samples.push_back({{wide, wide, c, c, c, c, c}, {{"tail", Strings{"prelu"}}}});
    samples.push_back({{wide, wide, c, c, c, wide}, {{"tail", Strings{"add", "relu"}}}});
  }
  return samples;
}

void expect_near(const test::NodeCase& c, const std::vector<HostTensor>& found) {
  double total = 0;  // sums of many numbers lose bits of the largest partial sum
  for (const auto& bytes : c.operands) total = std::max(total, static_cast<double>(bytes.size()));
  for (std::size_t r = 0; r < found.size(); ++r) {
    const DType dtype = c.results[r].type.dtype;
    for (std::int64_t i = 0; i < found[r].element_count(); ++i) {
      const double expected = c.expected[r].at(i);
      ASSERT_NEAR(found[r].at(i), expected, test::tolerance(expected, dtype) + 1e-8 * total)
          << c.what << " result " << r << " at " << i;
    }
  }
}

TEST(ImageKernels, ComputeWhatTheOracleComputes) {
  test::HostKernels kernels;
  std::vector<test::NodeCase> cases;
  for (const char* name :
       {"max_pool", "avg_pool", "max_pool_bwd", "avg_pool_bwd", "max_pool_dilated",
        "max_pool_dilated_bwd", "batch_norm_train", "batch_norm_apply", "batch_norm_bwd"}) {
    const OpDef& op = find_op(name);
    for (const Sample& sample : samples_of(op)) {
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        for (const bool images : {false, true}) {
          if (images && sample.operands[0].rank() != 4) continue;
          cases.push_back(test::make_node_case(
              op, sample, dtype, images,
              [](const Node& node, std::span<const View> operands, std::span<const View> results) {
                return kernels_of(node, operands, results);
              },
              kernels));
        }
      }
    }
  }
  ASSERT_GT(cases.size(), 150U);
  std::printf("%zu cases\n", cases.size());
  kernels.compile();
  for (const test::NodeCase& c : cases) {
    expect_near(c, test::run(c, kernels));
    if (!c.what.starts_with("batch_norm")) continue;
    // Result 0 may take the place of an operand of its type.
    for (std::size_t i = 0; i < c.operands.size(); ++i) {
      if (c.operand_views[i].type == c.results[0].type) {
        expect_near(c, test::run(c, kernels, static_cast<int>(i)));
      }
    }
  }
}

TEST(ImageKernels, AMeanFarFromZeroCostsNoBits) {
  test::HostKernels kernels;
  const Type x{DType::f32, {4, 8, 20, 20}, {}};
  const Type c{DType::f32, {8}, {}};
  const test::NodeCase far = test::make_node_case(
      find_op("batch_norm_train"), {{x, c, c, c, c}, {}, 9999, 10001}, DType::f32, true,
      [](const Node& node, std::span<const View> operands, std::span<const View> results) {
        return kernels_of(node, operands, results);
      },
      kernels);
  kernels.compile();
  const std::vector<HostTensor> found = test::run(far, kernels);
  for (std::int64_t i = 0; i < found[2].element_count(); ++i) {
    EXPECT_NEAR(found[2].at(i) / far.expected[2].at(i), 1, 1e-3);  // x itself has steps of 1e-3
  }
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
  EXPECT_THAT(test::error_of([&] { kernels_of(pool, true); }),
              HasSubstr("takes windows of at most 255 elements, not 256"));
  EXPECT_THAT(test::error_of([&] { cuda::pooling_kernels(relu, {}, {}); }),
              HasSubstr("'relu' is no pooling of floats"));
  EXPECT_THAT(test::error_of([&] { cuda::batch_norm_kernels(relu, {}, {}); }),
              HasSubstr("'relu' is no batch norm of a training step"));
}

}  // namespace
}  // namespace facet
