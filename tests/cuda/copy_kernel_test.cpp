#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/kernels/copy.h"
#include "tests/cuda/sample_kernels.h"
#include "tests/passes/pass_case.h"

// Copies: text (tests/golden/cuda_copies.txt; FACET_UPDATE_GOLDEN=1 writes it anew), that NVRTC
// compiles them, and that elements go on the host where the oracle has them.
namespace facet {
namespace {

using ::testing::HasSubstr;

test::KernelFamily family(LayoutChoice layouts = {}) {
  test::KernelFamily copies{
      [](const Node& node, std::span<const View> operands, std::span<const View> results) {
        return cuda::copy_kernels(node, operands, results[0]);
      }};
  if (!layouts.results.empty()) copies.layouts = [layouts](const Node&) { return layouts; };
  return copies;
}

const test::GoldenKernel kGolden[] = {{"row-major from channels last: tiles", R"(
  %0 = input() {name = "x", type = "bf16[2, 64, 14, 14]"} : bf16[2, 64, 14, 14]
  %1 = reorder(%0) {layout = "acdb"} : bf16[2, 64, 14, 14]@acdb
  return "y" = %1
)"},
                                      {"heads to the front: rows stay whole", R"(
  %0 = input() {name = "x", type = "f32[2, 49, 8, 16]"} : f32[2, 49, 8, 16]
  %1 = transpose(%0) {permutation = [0, 2, 1, 3]} : f32[2, 8, 49, 16]
  return "y" = %1
)"},
                                      {"side by side", R"(
  %0 = input() {name = "a", type = "f16[4, 8, 6]"} : f16[4, 8, 6]
  %1 = input() {name = "b", type = "f16[4, 3, 6]"} : f16[4, 3, 6]
  %2 = concat(%0, %1) {axis = 1} : f16[4, 11, 6]
  return "y" = %2
)"},
                                      {"from distances to pairs", R"(
  %0 = input() {name = "x", type = "bf16[2, 8, 49, 97]"} : bf16[2, 8, 49, 97]
  %1 = skew(%0) {distance = "i-j"} : bf16[2, 8, 49, 49]
  return "y" = %1
)"},
                                      {"and back, with zeros where no pair has the distance", R"(
  %0 = input() {name = "x", type = "f32[2, 8, 49, 49]"} : f32[2, 8, 49, 49]
  %1 = unskew(%0) : f32[2, 8, 49, 97]
  return "y" = %1
)"},
                                      {"a border", R"(
  %0 = input() {name = "x", type = "f32[4, 5, 8]"} : f32[4, 5, 8]
  %1 = pad(%0) {after = 2, axis = 1, before = 1, value = -1.5} : f32[4, 8, 8]
  return "y" = %1
)"}};

TEST(CopyKernels, TextsAreTheGoldenOnes) {
  test::expect_golden_texts(family(), kGolden, "cuda_copies.txt", "Copies");
}

TEST(CopyKernels, CompileWithoutSpillsForEveryArchitecture) {
  test::expect_no_spills(family(), kGolden, 40);
}

TEST(CopyKernels, MoveWhatTheOracleMoves) {
  test::SampleKernels all(family());
  for (const char* name : {"transpose", "concat", "slice", "strided_slice", "reverse", "expand",
                           "reshape", "pad", "skew", "unskew"}) {
    const OpDef& op = find_op(name);
    for (const Sample& sample : op.samples.make()) {
      const testing::SampleCase plain = testing::make_case(op, sample);
      if (!cuda::is_copy(*plain.graph.node_list().back())) continue;  // other modes of pad
      for (const DType dtype : {DType::f32, DType::bf16}) {
        all.add(op, sample, dtype);
        if (!op.name.ends_with("skew") && op.name != "reshape") all.add(op, sample, dtype, "acdb");
      }
    }
  }
  const Type map{DType::f32, {2, 70, 9, 10}, {}};
  all.add(find_op("transpose"), {{map}, {{"permutation", Ints{0, 2, 3, 1}}}}, DType::bf16);
  all.add(find_op("transpose"), {{map}, {{"permutation", Ints{1, 3, 2, 0}}}}, DType::f32);
  all.add(find_op("transpose"), {{map}, {{"permutation", Ints{0, 3, 1, 2}}}}, DType::f32, "acdb");
  ASSERT_GT(all.size(), 70U);
  all.check([](DType) { return 0.0; });
}

TEST(CopyKernels, ReordersGoThroughTilesBothWays) {
  const Type map{DType::f32, {2, 40, 5, 9}, {}};
  const Sample sample{{map}, {{"layout", std::string()}}};
  for (const bool to_last : {false, true}) {
    test::SampleKernels all(
        family(to_last ? LayoutChoice{{""}, {"acdb"}} : LayoutChoice{{"acdb"}, {""}}));
    for (const DType dtype : {DType::f32, DType::f16}) {
      all.add(find_op("reorder"), sample, dtype);
    }
    all.check([](DType) { return 0.0; });
  }
}

TEST(CopyKernels, WhatIsNoCopyIsRefused) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[4, 5]"} : f32[4, 5]
  %1 = relu(%0) : f32[4, 5]
  %2 = pad(%1) {after = 2, axis = 1, mode = "edge"} : f32[4, 7]
  return "y" = %2
)");
  const Node& pad = *graph.node_list().back();
  EXPECT_FALSE(cuda::is_copy(pad));
  const View view = dense_view(pad.operand(0).type());
  EXPECT_THAT(test::error_of(
                  [&] { cuda::copy_kernels(*pad.operand(0).node, std::vector<View>{view}, view); }),
              HasSubstr("'relu' is no copy"));
}

}  // namespace
}  // namespace facet
