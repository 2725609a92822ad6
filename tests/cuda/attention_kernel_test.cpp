#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/kernels/relative_attention.h"
#include "ir/sdpa.h"
#include "tests/cuda/sample_kernels.h"
#include "tests/passes/pass_case.h"

// Attention with relative positions: text (tests/golden/cuda_attention.txt; FACET_UPDATE_GOLDEN=1
// writes it anew), that NVRTC compiles it, and that what it computes on the host is what the
// float64 oracle computes.
namespace facet {
namespace {

using ::testing::HasSubstr;

const test::KernelFamily& family() {
  static const test::KernelFamily attention{
      [](const Node& node, std::span<const View> operands, std::span<const View> results) {
        return cuda::relative_attention_kernels(node, operands, results[0]);
      },
      cuda::relative_attention_layouts,
      [](const Node& node, int operand) {
        const Sdpa s = sdpa_of(node);
        return operand == s.score_scale || operand == s.bias || operand == s.output_scale ||
               operand == s.output_shift;
      }};
  return attention;
}

/// LESA's attention on a map of 14 x 14, heads of 2 d channels for queries and values of 4 d.
std::string lesa(const std::string& type, std::int64_t d) {
  const auto input = [&](int i, const std::string& of) {
    return "  %" + std::to_string(i) + " = input() {name = \"x" + std::to_string(i) +
           "\", type = \"" + of + "\"} : " + of + "\n";
  };
  const std::int64_t step = 4 * d, channels = 8 * 2 * d;
  const auto number = [](std::int64_t n) { return std::to_string(n); };
  const std::string map = type + "[4, " + number(8 * step) + ", 14, 14]";
  const std::string places = type + "[391, " + number(d) + "]";
  const std::string result = type + "[4, " + number(channels) + ", 14, 14]";
  std::string text = "\n" + input(0, map) + input(1, "f32[3, 8]") + input(2, places) +
                     input(3, places) + input(4, type + "[391, " + number(2 * d) + "]") +
                     input(5, "f32[2, " + number(channels) + "]") +
                     input(6, "f32[" + number(channels) + "]");
  text +=
      "  %7 = sdpa(%0, %0, %0, %1, %2, %3, %4, %5, %6) {extras = [\"score_scale\", "
      "\"relative_query\", \"relative_key\", \"relative_value\", \"output_scale\", "
      "\"output_shift\"], heads = 8, key = [" +
      number(d) + ", " + number(step) + ", " + number(d) + "], query = [0, " + number(step) + ", " +
      number(d) + "], value = [" + number(2 * d) + ", " + number(step) + ", " + number(2 * d) +
      "]} : " + result + "\n  return \"y\" = %7\n";
  return text;
}

const std::string kSmall = lesa("bf16", 16), kMiddle = lesa("f16", 32), kLarge = lesa("bf16", 64),
                  kExact = lesa("f32", 32);
const test::GoldenKernel kGolden[] = {{"LESA's third stage in bf16", kSmall.c_str()},
                                      {"its fourth stage in f32", kExact.c_str()},
                                      {"heads on a map, with a bias, clamped, in f32", R"(
  %0 = input() {name = "x", type = "f32[2, 12, 32]"} : f32[2, 12, 32]
  %1 = input() {name = "h", type = "f32[5, 4]"} : f32[5, 4]
  %2 = input() {name = "w", type = "f32[7, 4]"} : f32[7, 4]
  %3 = input() {name = "b", type = "f32[12, 12]"} : f32[12, 12]
  %4 = sdpa(%0, %0, %0, %1, %2, %3) {channel_axis = -1, clamp = [-5, 5], extras = ["relative_height", "relative_width", "bias"], heads = 2, key = [4, 16, 4], map = [3, 4], query = [0, 16, 4], scale = 0.5, value = [8, 16, 8]} : f32[2, 12, 16]
  return "y" = %4
)"}};
const test::GoldenKernel kOthers[] = {{"LESA's fourth stage in f16", kMiddle.c_str()},
                                      {"the same of twice the width in bf16", kLarge.c_str()}};

TEST(AttentionKernel, TextsAreTheGoldenOnes) {
  test::expect_golden_texts(family(), kGolden, "cuda_attention.txt", "Attention kernels");
}

TEST(AttentionKernel, CompilesWithoutSpillsForEveryArchitecture) {
  test::expect_no_spills(family(), kGolden, 168);
  test::expect_no_spills(family(), kOthers, 128);
}

TEST(AttentionKernel, ComputesWhatTheOracleComputes) {
  test::SampleKernels all(family());
  const OpDef& op = find_op("sdpa");
  std::vector<Sample> samples = op.samples.make();
  // All tables over several tiles of queries and keys, none of them full.
  Sample many = samples.at(4);
  const auto f32 = [](Shape shape) { return Type{DType::f32, std::move(shape), {}}; };
  const Type map = f32({1, 32, 7, 5});
  many.operands = {map,          map,          map,          f32({3, 2}), f32({69, 4}),
                   f32({69, 4}), f32({69, 8}), f32({2, 16}), f32({16})};
  samples.push_back(many);
  // Values wider than what the lanes of a warp hold at once, in 16 bits and in f32.
  Sample wide = samples.at(4);
  const Type wide_map = f32({1, 160, 5, 4});
  wide.operands = {wide_map,     wide_map,      wide_map,      f32({3, 2}), f32({39, 4}),
                   f32({39, 4}), f32({39, 72}), f32({2, 144}), f32({144})};
  wide.attributes.set("query", Ints{0, 80, 4});
  wide.attributes.set("key", Ints{4, 80, 4});
  wide.attributes.set("value", Ints{8, 80, 72});
  samples.push_back(wide);
  wide.operands.resize(7);
  wide.attributes.set("interleaved", true);
  wide.attributes.set("extras",
                      Strings{"score_scale", "relative_query", "relative_key", "relative_value"});
  samples.push_back(wide);
  for (const Sample& sample : samples) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) all.add(op, sample, dtype);
  }
  ASSERT_GE(all.size(), 36U);
  // Weights are rounded to the type of the values.
  all.check([](DType dtype) {
    return dtype == DType::bf16 ? 4e-3 : dtype == DType::f16 ? 5e-4 : 4e-6;
  });
}

TEST(AttentionKernel, WhatHasNoRoomIsRefused) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[1, 1024, 32]"} : f32[1, 1024, 32]
  %1 = sdpa(%0, %0, %0) {channel_axis = -1, heads = 1, key = [0, 32, 32], query = [0, 32, 32], value = [0, 32, 32]} : f32[1, 1024, 32]
  return "y" = %1
)");
  const Node& node = *graph.node_list().back();
  EXPECT_FALSE(cuda::is_relative_attention(node));
  EXPECT_THAT(test::error_of([&] { test::kernels_of(family(), node); }),
              HasSubstr("'sdpa' is no attention that one kernel"));
}

}  // namespace
}  // namespace facet
