#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/kernels/attention_gradient.h"
#include "ir/sdpa.h"
#include "tests/cuda/sample_kernels.h"
#include "tests/passes/pass_case.h"

// The gradient of attention with relative positions: text
// (tests/golden/cuda_attention_gradient.txt; FACET_UPDATE_GOLDEN=1 writes it anew), that NVRTC
// compiles it, and that what it computes on the host is what the float64 oracle computes.
namespace facet {
namespace {

using ::testing::HasSubstr;

bool stays_f32(const Node& node, int operand) {
  const Sdpa s = sdpa_bwd_of(node).sdpa;
  return operand - 1 == s.score_scale || operand - 1 == s.bias;
}

const test::KernelFamily& family() {
  static const test::KernelFamily gradients{
      [](const Node& node, std::span<const View> operands, std::span<const View> results) {
        return cuda::attention_gradient_kernels(node, operands, results);
      },
      cuda::attention_gradient_layouts, stays_f32};
  return gradients;
}

/// As `family`, with sums of several images in each block, and so much shared memory.
test::KernelFamily few_blocks(std::int64_t shared_bytes = cuda::GradientLimits().shared_bytes) {
  return {[shared_bytes](const Node& node, std::span<const View> operands,
                         std::span<const View> results) {
            return cuda::attention_gradient_kernels(node, operands, results, {8, shared_bytes});
          },
          cuda::attention_gradient_layouts, stays_f32};
}

/// LESA's attention on a square map, heads of d channels for queries and of 2 d for values.
std::string lesa(const std::string& type, std::int64_t d, std::int64_t width = 14) {
  std::string text;
  const auto input = [&](int i, const std::string& of) {
    text += fmt::format("  %{0} = input() {{name = \"x{0}\", type = \"{1}\"}} : {1}\n", i, of);
  };
  const std::string map = fmt::format("{0}[32, {1}, {2}, {2}]", type, 32 * d, width);
  const auto table = [&](const std::string& of, std::int64_t columns) {
    return fmt::format("{}[{}, {}]", of, 2 * width * width - 1, columns);
  };
  input(0, map);
  input(1, map);
  input(2, "f32[3, 8]");
  input(3, table(type, d));
  input(4, table(type, d));
  input(5, table(type, 2 * d));
  return "\n" + text +
         fmt::format(
             "  %6:5 = sdpa_bwd(%0, %1, %1, %1, %2, %3, %4, %5) {{extras = [\"score_scale\", "
             "\"relative_query\", \"relative_key\", \"relative_value\"], heads = 8, interleaved = "
             "true, key = [{0}, {1}, {0}], packed = true, query = [0, {1}, {0}], value = [{2}, "
             "{1}, {2}]}} : ({3}, f32[3, 8], {4}, {4}, {5})\n  return \"y\" = %6.0\n",
             d, 4 * d, 2 * d, map, table("f32", d), table("f32", 2 * d));
}

/// MLA's side branch: one clamped head on a map of 7 x 7, 64 channels for queries and 512 for
/// values.
std::string mla(const std::string& type) {
  const std::string x = type + "[32, 640, 7, 7]", dy = type + "[32, 512, 7, 7]";
  return "\n  %0 = input() {name = \"dy\", type = \"" + dy + "\"} : " + dy +
         "\n  %1 = input() {name = \"x\", type = \"" + x + "\"} : " + x + R"(
  %2 = sdpa_bwd(%0, %1, %1, %1) {clamp = [-1.0, 1.0], heads = 1, key = [64, 64, 64], packed = true, query = [0, 64, 64], value = [128, 512, 512]} : )" +
         x + "\n  return \"y\" = %2\n";
}

/// Heads of 64 channels with a bias in f32, in a network of 1024 tokens.
std::string many(const std::string& type) {
  const std::string x = type + "[2, 1024, 1536]", dy = type + "[2, 1024, 512]";
  return "\n  %0 = input() {name = \"dy\", type = \"" + dy + "\"} : " + dy +
         "\n  %1 = input() {name = \"x\", type = \"" + x + "\"} : " + x + R"(
  %2 = input() {name = "b", type = "f32[8, 1024, 1024]"} : f32[8, 1024, 1024]
  %3:2 = sdpa_bwd(%0, %1, %1, %1, %2) {bias_gradient = true, channel_axis = -1, extras = ["bias"], heads = 8, key = [512, 64, 64], packed = true, query = [0, 64, 64], scale = 0.125, value = [1024, 64, 64]} : ()" +
         x + ", f32[8, 1024, 1024])\n  return \"y\" = %3.0\n";
}

const std::string kSmall = lesa("bf16", 16), kMiddle = lesa("f16", 32), kLarge = lesa("bf16", 64),
                  kExact = lesa("f32", 32), kWide = lesa("f32", 64), kMla = mla("bf16"),
                  kMlaExact = mla("f32"), kMany = many("bf16"), kManyExact = many("f32"),
                  kLargeMap = lesa("bf16", 32, 24), kExactMap = lesa("f32", 32, 24);
const test::GoldenKernel kGolden[] = {{"LESA's third stage in bf16", kSmall.c_str()},
                                      {"heads on a map, with a bias, clamped, in f32", R"(
  %0 = input() {name = "dy", type = "f32[2, 12, 16]"} : f32[2, 12, 16]
  %1 = input() {name = "x", type = "f32[2, 12, 40]"} : f32[2, 12, 40]
  %2 = input() {name = "h", type = "f32[5, 4]"} : f32[5, 4]
  %3 = input() {name = "w", type = "f32[7, 4]"} : f32[7, 4]
  %4 = input() {name = "b", type = "f32[12, 12]"} : f32[12, 12]
  %5:4 = sdpa_bwd(%0, %1, %1, %1, %2, %3, %4) {bias_gradient = true, channel_axis = -1, clamp = [-5, 5], extras = ["relative_height", "relative_width", "bias"], heads = 2, key = [4, 16, 4], map = [3, 4], packed = true, query = [0, 16, 4], scale = 0.5, value = [8, 16, 8]} : (f32[2, 12, 40], f32[5, 4], f32[7, 4], f32[12, 12])
  return "y" = %5.0
)"},
                                      {"1024 tokens with a bias, in bf16", kMany.c_str()}};
const test::GoldenKernel kOfThree[] = {{"LESA's fourth stage in f16", kMiddle.c_str()}};
const test::GoldenKernel kOfWide[] = {{"twice its width in bf16", kLarge.c_str()},
                                      {"LESA on 24 x 24 in bf16", kLargeMap.c_str()},
                                      {"MLA in bf16", kMla.c_str()}};
const test::GoldenKernel kOfTwo[] = {{"LESA's fourth stage in f32", kExact.c_str()},
                                     {"twice its width in f32", kWide.c_str()},
                                     {"LESA on 24 x 24 in f32", kExactMap.c_str()},
                                     {"MLA in f32", kMlaExact.c_str()},
                                     {"1024 tokens with a bias, in f32", kManyExact.c_str()}};

TEST(AttentionGradient, TextsAreTheGoldenOnes) {
  test::expect_golden_texts(family(), kGolden, "cuda_attention_gradient.txt",
                            "Kernels of attention's gradient");
}

TEST(AttentionGradient, CompilesWithoutSpillsForEveryArchitecture) {
  test::expect_no_spills(family(), kGolden, 128);
  test::expect_no_spills(family(), kOfThree, 128);
  test::expect_no_spills(family(), kOfWide, 168);
  test::expect_no_spills(family(), kOfTwo, 255);
}

/// What one rounding of a factor may cost: weights and gradients of scores have the type of q.
double slack(DType dtype) {
  return dtype == DType::bf16 ? 1e-2 : dtype == DType::f16 ? 1e-3 : 1e-5;
}

TEST(AttentionGradient, ComputesWhatTheOracleComputes) {
  test::SampleKernels all(family());
  const OpDef& op = find_op("sdpa_bwd");
  for (const Sample& sample : op.samples.make()) {
    if (sample.attributes.has("weights")) continue;  // these are made again: see the next test
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) all.add(op, sample, dtype);
  }
  ASSERT_GE(all.size(), 36U);
  all.check(slack, test::SampleKernels::Slack::by_operands);
}

TEST(AttentionGradient, KeptWeightsAreRefused) {
  int refused = 0;
  for (const Sample& sample : find_op("sdpa_bwd").samples.make()) {
    if (!sample.attributes.has("weights")) continue;
    const testing::SampleCase made = testing::make_case(find_op("sdpa_bwd"), sample);
    EXPECT_FALSE(cuda::is_attention_gradient(*made.graph.outputs()[0].value.node));
    ++refused;
  }
  EXPECT_GE(refused, 3);
}

TEST(AttentionGradient, AddsUpTilesAndImages) {
  test::SampleKernels all(few_blocks());
  const OpDef& op = find_op("sdpa_bwd");
  const auto f32 = [](Shape shape) { return Type{DType::f32, std::move(shape), {}}; };
  // All tables over several tiles of queries and keys, none of them full; three images, two of
  // which share a block.
  const Type map = f32({3, 32, 7, 3});
  Sample tables{
      {map, map, map, map, f32({3, 2}), f32({41, 4}), f32({41, 4}), f32({41, 8})},
      {{"heads", std::int64_t{2}},
       {"query", Ints{0, 16, 4}},
       {"key", Ints{4, 16, 4}},
       {"value", Ints{8, 16, 8}},
       {"interleaved", true},
       {"packed", true},
       {"scale", 1.5},
       {"extras", Strings{"score_scale", "relative_query", "relative_key", "relative_value"}}}};
  // A map's rows and columns, and a bias of every head; content and places have one cotangent.
  const Type rows = f32({3, 21, 32});
  Sample on_map{{f32({3, 21, 16}), rows, rows, rows, f32({3, 2}), f32({41, 4}), f32({13, 4}),
                 f32({5, 4}), f32({2, 21, 21}), f32({41, 8})},
                {{"heads", std::int64_t{2}},
                 {"query", Ints{0, 16, 4}},
                 {"key", Ints{4, 16, 4}},
                 {"value", Ints{8, 16, 8}},
                 {"channel_axis", std::int64_t{-1}},
                 {"map", Ints{7, 3}},
                 {"bias_gradient", true},
                 {"extras", Strings{"score_scale", "relative_key", "relative_height",
                                    "relative_width", "bias", "relative_value"}}}};
  // Six images, two of them at a time.
  Sample pairs = tables;
  for (std::size_t i = 0; i < 4; ++i) pairs.operands[i] = f32({6, 32, 7, 3});
  for (const Sample& sample : {tables, on_map, pairs}) {
    for (const DType dtype : {DType::f32, DType::bf16}) all.add(op, sample, dtype);
  }
  all.check(slack, test::SampleKernels::Slack::by_operands);
}

TEST(AttentionGradient, MeetsTokensInStretches) {
  // Of 64 tokens with tables, of 128 without.
  test::SampleKernels all(few_blocks(26 << 10));
  const OpDef& op = find_op("sdpa_bwd");
  const auto f32 = [](Shape shape) { return Type{DType::f32, std::move(shape), {}}; };
  const Type map = f32({3, 32, 13, 11});
  Sample tables{
      {map, map, map, map, f32({3, 2}), f32({285, 4}), f32({285, 4}), f32({285, 8})},
      {{"heads", std::int64_t{2}},
       {"query", Ints{0, 16, 4}},
       {"key", Ints{4, 16, 4}},
       {"value", Ints{8, 16, 8}},
       {"interleaved", true},
       {"packed", true},
       {"scale", 1.5},
       {"extras", Strings{"score_scale", "relative_query", "relative_key", "relative_value"}}}};
  const Type rows = f32({3, 143, 32});
  Sample on_map{{f32({3, 143, 16}), rows, rows, rows, f32({3, 2}), f32({285, 4}), f32({25, 4}),
                 f32({21, 4}), f32({2, 143, 143}), f32({285, 8})},
                {{"heads", std::int64_t{2}},
                 {"query", Ints{0, 16, 4}},
                 {"key", Ints{4, 16, 4}},
                 {"value", Ints{8, 16, 8}},
                 {"channel_axis", std::int64_t{-1}},
                 {"map", Ints{13, 11}},
                 {"bias_gradient", true},
                 {"extras", Strings{"score_scale", "relative_key", "relative_height",
                                    "relative_width", "bias", "relative_value"}}}};
  // More queries than keys and the other way round; scores that the clamp cuts.
  const auto crossed = [&](std::int64_t queries, std::int64_t keys) {
    return Sample{{f32({2, queries, 24}), f32({2, queries, 16}), f32({2, keys, 16}),
                   f32({2, keys, 24}), f32({2, 1, queries, keys})},
                  {{"heads", std::int64_t{2}},
                   {"query", Ints{0, 8, 8}},
                   {"key", Ints{0, 8, 8}},
                   {"value", Ints{0, 12, 12}},
                   {"channel_axis", std::int64_t{-1}},
                   {"clamp", Doubles{-1.5, 2}},
                   {"bias_gradient", true},
                   {"extras", Strings{"bias"}}}};
  };
  for (const Sample& sample : {tables, on_map, crossed(150, 300), crossed(300, 21)}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) all.add(op, sample, dtype);
  }
  // Sums of up to fifteen times as many rounded numbers as in the other cases: with all tokens at
  // once the first sample errs by as much in bf16 (0.0285 where the slack of others allows 0.0142).
  all.check([](DType dtype) { return (dtype == DType::f32 ? 1 : 4) * slack(dtype); },
            test::SampleKernels::Slack::by_operands);
}

TEST(AttentionGradient, WorksOnTwoImagesWhereTablesHaveSums) {
  const auto shared_bytes = [](const std::string& body) {
    const Graph graph = testing::parse_body(body);
    return test::kernels_of(family(), *graph.node_list().back()).kernels.at(0).shared_bytes;
  };
  EXPECT_EQ(shared_bytes(kSmall), 2 * 41728);  // scores, their gradients and places
  EXPECT_EQ(shared_bytes(kLargeMap), 0);       // all keys have no room
  EXPECT_EQ(shared_bytes(kMla), 0);
}

TEST(AttentionGradient, HeadsMayBeWiderThanRegisters) {
  test::SampleKernels all(few_blocks());
  const OpDef& op = find_op("sdpa_bwd");
  const auto f32 = [](Shape shape) { return Type{DType::f32, std::move(shape), {}}; };
  const Type map = f32({3, 440, 7, 3});
  const Sample sample{{f32({3, 152, 7, 3}), map, map, map},
                      {{"heads", std::int64_t{1}},
                       {"query", Ints{0, 144, 144}},
                       {"key", Ints{144, 144, 144}},
                       {"value", Ints{288, 152, 152}},
                       {"packed", true},
                       {"scale", 0.1},
                       {"clamp", Doubles{-1, 1}}}};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) all.add(op, sample, dtype);
  all.check(slack, test::SampleKernels::Slack::by_operands);
}

TEST(AttentionGradient, WhatHasNoRoomIsRefused) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[1, 384, 512]"} : f32[1, 384, 512]
  %1:3 = sdpa_bwd(%0, %0, %0, %0) {channel_axis = -1, heads = 1, key = [0, 512, 512], query = [0, 512, 512], value = [0, 512, 512]} : (f32[1, 384, 512], f32[1, 384, 512], f32[1, 384, 512])
  return "y" = %1.0
)");
  const Node& node = *graph.node_list().back();
  EXPECT_FALSE(cuda::is_attention_gradient(node));
  EXPECT_THAT(test::error_of([&] { test::kernels_of(family(), node); }),
              HasSubstr("'sdpa_bwd' is no gradient of attention that kernels"));
}

}  // namespace
}  // namespace facet
