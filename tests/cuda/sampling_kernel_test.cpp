#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/kernels/gather.h"
#include "backends/cuda/kernels/resize.h"
#include "tests/cuda/sample_kernels.h"
#include "tests/passes/pass_case.h"

// Kernels that read by index or by tables of taps: text (tests/golden/cuda_sampling.txt;
// FACET_UPDATE_GOLDEN=1 writes it anew), that NVRTC compiles them, and that what they compute on
// the host is what the float64 oracle computes.
namespace facet {
namespace {

using ::testing::HasSubstr;

const test::KernelFamily& family() {
  static const test::KernelFamily list{
      [](const Node& node, std::span<const View> operands, std::span<const View> results) {
        if (cuda::is_resize(node)) return cuda::resize_kernels(node, operands[0], results[0]);
        return cuda::gather_kernels(node, operands, results[0]);
      }};
  return list;
}

const test::GoldenKernel kGolden[] = {{"twice as high and wide, channels last", R"(
  %0 = input() {name = "x", type = "bf16[2, 64, 3, 4]@acdb"} : bf16[2, 64, 3, 4]@acdb
  %1 = resize(%0) {mode = "linear", sizes = [0, 0, 6, 8]} : bf16[2, 64, 6, 8]@acdb
  return "y" = %1
)"},
                                      {"rows of a table", R"(
  %0 = input() {name = "x", type = "f32[100, 64]"} : f32[100, 64]
  %1 = input() {name = "i", type = "i64[7]"} : i64[7]
  %2 = gather(%0, %1) : f32[7, 64]
  return "y" = %2
)"},
                                      {"and their gradient", R"(
  %0 = input() {name = "dy", type = "f32[7, 64]"} : f32[7, 64]
  %1 = input() {name = "i", type = "i64[7]"} : i64[7]
  %2 = scatter_add(%0, %1) {extent = 100} : f32[100, 64]
  return "y" = %2
)"}};

TEST(SamplingKernels, TextsAreTheGoldenOnes) {
  test::expect_golden_texts(family(), kGolden, "cuda_sampling.txt", "Sampling kernels");
}

TEST(SamplingKernels, CompileWithoutSpillsForEveryArchitecture) {
  test::expect_no_spills(family(), kGolden, 48);
}

TEST(SamplingKernels, ComputeWhatTheOracleComputes) {
  test::SampleKernels all(family());
  for (const char* name : {"resize", "resize_bwd", "gather", "gather_elements", "scatter_add"}) {
    const OpDef& op = find_op(name);
    for (const Sample& sample : op.samples.make()) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        all.add(op, sample, dtype);
        if (op.name.starts_with("resize")) all.add(op, sample, dtype, "acdb");
      }
    }
  }
  ASSERT_GT(all.size(), 60U);
  all.check([](DType) { return 4e-6; });
}

TEST(SamplingKernels, OtherNodesAreRefused) {
  const Graph graph = testing::parse_body(kGolden[1].body);
  const Node& gather = *graph.node_list().back();
  const View x = dense_view(gather.operand(0).type());
  EXPECT_THAT(test::error_of([&] { cuda::resize_kernels(gather, x, x); }),
              HasSubstr("'gather' is no resize"));
  EXPECT_THAT(test::error_of([&] {
                cuda::gather_kernels(*gather.operand(0).node, std::vector<View>{x, x}, x);
              }),
              HasSubstr("'input' is no gather"));
}

}  // namespace
}  // namespace facet
