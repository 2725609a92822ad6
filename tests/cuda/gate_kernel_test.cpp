#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/kernels/gate.h"
#include "tests/cuda/sample_kernels.h"
#include "tests/passes/pass_case.h"

// Gates: text (tests/golden/cuda_gates.txt; FACET_UPDATE_GOLDEN=1 writes it anew), that NVRTC
// compiles them, and that what they compute on the host is what the float64 oracle computes.
namespace facet {
namespace {

using ::testing::HasSubstr;

const test::KernelFamily& family() {
  static const test::KernelFamily gates{
      [](const Node& node, std::span<const View> operands, std::span<const View> results) {
        return cuda::gate_kernels(node, operands, results[0]);
      },
      cuda::gate_layouts};
  return gates;
}

const test::GoldenKernel kGolden[] = {
    {"LS-CNN's dual face attention in bf16: the first pass sums what the second stage votes on", R"(
  %0 = input() {name = "x", type = "bf16[128, 256, 16, 16]"} : bf16[128, 256, 16, 16]
  %1 = input() {name = "p1", type = "f32[256, 16]"} : f32[256, 16]
  %2 = input() {name = "pb", type = "f32[16]"} : f32[16]
  %3 = input() {name = "p2", type = "f32[16]"} : f32[16]
  %4 = input() {name = "pc", type = "f32[1]"} : f32[1]
  %5 = input() {name = "c1", type = "f32[16, 256]"} : f32[16, 256]
  %6 = input() {name = "c2", type = "f32[16, 256]"} : f32[16, 256]
  %7 = gate(%0, %1, %2, %3, %4, %5, %6) {extras = ["pixel_w1", "pixel_b1", "pixel_w2", "pixel_b2", "channel_w1", "channel_w2"], stages = ["pixels", "channels"]} : bf16[128, 256, 16, 16]
  return "y" = %7
)"},
    {"a CBAM with its residual in f16", R"(
  %0 = input() {name = "x", type = "f16[2, 64, 14, 14]"} : f16[2, 64, 14, 14]
  %1 = input() {name = "c1", type = "f32[4, 64]"} : f32[4, 64]
  %2 = input() {name = "c2", type = "f32[4, 64]"} : f32[4, 64]
  %3 = input() {name = "gamma", type = "f32[1]"} : f32[1]
  %4 = input() {name = "w", type = "f32[2, 7, 7]"} : f32[2, 7, 7]
  %5 = input() {name = "r", type = "f16[2, 64, 14, 14]"} : f16[2, 64, 14, 14]
  %6 = gate(%0, %1, %2, %3, %4, %5) {extras = ["channel_w1", "channel_w2", "gamma", "window_w", "residual"], pooling = "mean_max", relu = true, stages = ["channels", "window"]} : f16[2, 64, 14, 14]
  return "y" = %6
)"},
    {"squeeze-and-excitation in f32 of more channels than one pass can sum", R"(
  %0 = input() {name = "x", type = "f32[1, 2048, 7, 7]"} : f32[1, 2048, 7, 7]
  %1 = input() {name = "c1", type = "f32[128, 2048]"} : f32[128, 2048]
  %2 = input() {name = "c2", type = "f32[128, 2048]"} : f32[128, 2048]
  %3 = gate(%0, %1, %2) {extras = ["channel_w1", "channel_w2"], stages = ["channels"]} : f32[1, 2048, 7, 7]
  return "y" = %3
)"},
    {"pixels in f32, of more weights than shared memory holds", R"(
  %0 = input() {name = "x", type = "f32[4, 512, 14, 14]"} : f32[4, 512, 14, 14]
  %1 = input() {name = "p1", type = "f32[512, 32]"} : f32[512, 32]
  %2 = input() {name = "p2", type = "f32[32]"} : f32[32]
  %3 = gate(%0, %1, %2) {extras = ["pixel_w1", "pixel_w2"], stages = ["pixels"]} : f32[4, 512, 14, 14]
  return "y" = %3
)"}};

TEST(GateKernels, TextsAreTheGoldenOnes) {
  test::expect_golden_texts(family(), kGolden, "cuda_gates.txt", "Gates");
}

TEST(GateKernels, CompileWithoutSpillsForEveryArchitecture) {
  test::expect_no_spills(family(), kGolden, 128);
}

/// The op's own samples, and larger ones of several parts, vectors and slices of channels.
std::vector<Sample> samples() {
  std::vector<Sample> list = find_op("gate").samples.make();
  const auto f32 = [](Shape shape) { return Type{DType::f32, std::move(shape), {}}; };
  const auto add = [&](std::vector<Type> operands, Strings stages, Strings extras,
                       std::string pooling) {
    list.push_back({std::move(operands),
                    {{"stages", std::move(stages)},
                     {"extras", std::move(extras)},
                     {"pooling", std::move(pooling)}}});
  };
  add({f32({2, 64, 9, 9}), f32({64, 4}), f32({4}), f32({4, 64}), f32({4, 64})},
      {"pixels", "channels"}, {"pixel_w1", "pixel_w2", "channel_w1", "channel_w2"}, "mean");
  add({f32({1, 160, 12, 11}), f32({3, 160}), f32({3, 160}), f32({2, 3, 3})}, {"channels", "window"},
      {"channel_w1", "channel_w2", "window_w"}, "mean_max");
  add({f32({1, 1088, 3, 3}), f32({2, 1088}), f32({2, 1088})}, {"channels"},
      {"channel_w1", "channel_w2"}, "mean");
  add({f32({1, 1088, 3, 3}), f32({1088, 20}), f32({20}), f32({2, 1088}), f32({2, 1088})},
      {"pixels", "channels"}, {"pixel_w1", "pixel_w2", "channel_w1", "channel_w2"}, "mean_max");
  return list;
}

TEST(GateKernels, ComputeWhatTheOracleComputes) {
  test::SampleKernels all(family());
  for (const Sample& sample : samples()) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      all.add(find_op("gate"), sample, dtype);
    }
  }
  ASSERT_GT(all.size(), 50U);
  // Hidden weights that a gate before has scaled are rounded to the map's type.
  all.check([](DType dtype) {
    return dtype == DType::bf16 ? 4e-3 : dtype == DType::f16 ? 5e-4 : 2e-6;
  });
}

TEST(GateKernels, ChannelsMustBeLast) {
  const Graph graph = testing::parse_body(kGolden[2].body);
  const Node& gate = *graph.node_list().back();
  std::vector<View> operands;
  for (const Value& value : gate.operands()) operands.push_back(dense_view(value.type()));
  const View& row_major = operands[0];
  EXPECT_THAT(test::error_of([&] { cuda::gate_kernels(gate, operands, row_major); }),
              HasSubstr("channels are last, not f32[1, 2048, 7, 7]"));
  const Node& input = *gate.operand(0).node;
  EXPECT_THAT(test::error_of([&] { cuda::gate_kernels(input, operands, row_major); }),
              HasSubstr("'input' is no gate"));
}

}  // namespace
}  // namespace facet
