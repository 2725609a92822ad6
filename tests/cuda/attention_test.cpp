#include "backends/cuda/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cuda/cuda_case.h"
#include "tests/passes/pass_case.h"

// Attention as cuDNN graphs.
namespace facet {
namespace {

using cuda::OperationGraph;
using ::testing::HasSubstr;

/// Eight heads of 64 channels, packed as q, k, v, in a network with tokens [N, K, C], as a vision
/// transformer has them; `bias` is its type, empty for none.
Graph vision(const std::string& dtype, const std::string& bias = "") {
  const std::string tokens = dtype + "[4, 197, 1536]";
  std::string body = "\n  %0 = input() {name = \"qkv\", type = \"" + tokens + "\"} : " + tokens;
  if (!bias.empty()) {
    body += "\n  %1 = input() {name = \"bias\", type = \"" + bias + "\"} : " + bias;
  }
  const std::string number = bias.empty() ? "1" : "2";
  body += "\n  %" + number + " = sdpa(%0, %0, %0" + (bias.empty() ? "" : ", %1") +
          ") {channel_axis = -1, " + (bias.empty() ? "" : "extras = [\"bias\"], ") +
          "heads = 8, key = [512, 64, 64], query = [0, 64, 64], scale = 0.125, value = [1024, 64, "
          "64]} : " +
          dtype + "[4, 197, 512]\n  return \"y\" = %" + number + "\n";
  return testing::parse_body(body);
}

/// MLA's side branch: one clamped head on a map, with the batch norm behind it folded.
Graph patches(const std::string& dtype) {
  const std::string q = dtype + "[4, 64, 7, 7]";
  const std::string v = dtype + "[4, 512, 7, 7]";
  return testing::parse_body("\n  %0 = input() {name = \"q\", type = \"" + q + "\"} : " + q +
                             "\n  %1 = input() {name = \"v\", type = \"" + v + "\"} : " + v + R"(
  %2 = input() {name = "scale", type = "f32[1, 512]"} : f32[1, 512]
  %3 = input() {name = "shift", type = "f32[512]"} : f32[512]
  %4 = sdpa(%0, %0, %1, %2, %3) {clamp = [-1.0, 1.0], extras = ["output_scale", "output_shift"], heads = 1, key = [0, 64, 64], query = [0, 64, 64], value = [0, 512, 512]} : )" +
                             v + "\n  return \"y\" = %4\n");
}

/// The gradients of `vision`.
Graph vision_gradient(const std::string& dtype, const std::string& bias = "") {
  const std::string tokens = dtype + "[4, 197, 1536]", y = dtype + "[4, 197, 512]";
  std::string body = "\n  %0 = input() {name = \"dy\", type = \"" + y + "\"} : " + y +
                     "\n  %1 = input() {name = \"qkv\", type = \"" + tokens + "\"} : " + tokens;
  if (!bias.empty()) {
    body += "\n  %2 = input() {name = \"bias\", type = \"" + bias + "\"} : " + bias;
  }
  const std::string number = bias.empty() ? "2" : "3";
  body += "\n  %" + number + " = sdpa_bwd(%0, %1, %1, %1" + (bias.empty() ? "" : ", %2") +
          ") {channel_axis = -1, " + (bias.empty() ? "" : "extras = [\"bias\"], ") +
          "heads = 8, key = [512, 64, 64], packed = true, query = [0, 64, 64], scale = 0.125, "
          "value = [1024, 64, 64]} : " +
          tokens + "\n  return \"y\" = %" + number + "\n";
  return testing::parse_body(body);
}

const Node& last(const Graph& graph) { return *graph.node_list().back(); }

bool has_engines(const std::optional<OperationGraph>& graph, bool tf32 = false) {
  return graph && !test::h200_planner().engines(*graph, {.tf32 = tf32}).empty();
}

TEST(CudaAttention, IsOneGraphInWhichNoScoreIsInMemory) {
  const Graph graph = vision("bf16", "bf16[1, 8, 197, 197]");
  const auto attention = cuda::attention_graph(last(graph));
  ASSERT_TRUE(attention);
  EXPECT_EQ("\n" + to_text(*attention), R"(
operand0 : bf16[4, 8, 197, 64] strides [302592, 64, 1536, 1]
operand1+512 : bf16[4, 8, 64, 197] strides [302592, 64, 1, 1536]
operand2+1024 : bf16[4, 8, 197, 64] strides [302592, 64, 1536, 1]
operand3 : bf16[1, 8, 197, 197] strides [310472, 38809, 197, 1]
scratch0 : f32[4, 8, 197, 1] strides [1576, 197, 1, 1]
result0 : bf16[4, 8, 197, 64] strides [100864, 64, 512, 1]
%3 = matmul(operand0, operand1+512) : f32[4, 8, 197, 197]
%4 = multiply(%3) settings [0.125] : f32[4, 8, 197, 197]
%6 = add(%4, operand3) : f32[4, 8, 197, 197]
%7 = reduce_max(%6) : f32[4, 8, 197, 1]
%8 = subtract(%6, %7) : f32[4, 8, 197, 197]
%9 = exp(%8) : f32[4, 8, 197, 197]
%10 = reduce_sum(%9) : f32[4, 8, 197, 1]
%12 = log(%10) : f32[4, 8, 197, 1]
scratch0 = add(%7, %12)
%13 = divide(%9, %10) : bf16[4, 8, 197, 197]
result0 = matmul(%13, operand2+1024)
)");
}

TEST(CudaAttention, APatchsTokensAreTheMapsPixels) {
  const Graph graph = patches("bf16");
  const auto attention = cuda::attention_graph(last(graph));
  ASSERT_TRUE(attention);
  const std::string text = to_text(*attention);
  EXPECT_THAT(text, HasSubstr("operand0 : bf16[4, 1, 49, 64] strides [3136, 64, 64, 1]\n"));
  EXPECT_THAT(text, HasSubstr("scratch0 : f32[4, 1, 49, 1]"));
  EXPECT_THAT(text, HasSubstr("= maximum(%3) settings [-1]"));
  EXPECT_THAT(text, HasSubstr("operand3 : f32[1, 1, 1, 512] strides [512, 512, 512, 1]\n"));
  EXPECT_THAT(text, HasSubstr("result0 = add("));
}

TEST(CudaAttention, HasEnginesIn16BitsAndWithTf32) {
  for (const char* dtype : {"bf16", "f16"}) {
    EXPECT_TRUE(has_engines(cuda::attention_graph(last(vision(dtype))))) << dtype;
    EXPECT_TRUE(has_engines(cuda::attention_graph(last(patches(dtype))))) << dtype;
  }
  for (const Graph& graph : {vision("f32"), patches("f32")}) {
    EXPECT_FALSE(has_engines(cuda::attention_graph(last(graph))));
    EXPECT_TRUE(has_engines(cuda::attention_graph(last(graph)), true));
  }
  for (const char* bias :
       {"bf16[1, 8, 197, 197]", "bf16[4, 1, 1, 197]", "bf16[197, 197]", "f32[1, 8, 197, 197]"}) {
    EXPECT_TRUE(has_engines(cuda::attention_graph(last(vision("bf16", bias))))) << bias;
  }
  const cuda::PlanResult plan =
      test::h200_planner().build_plan(*cuda::attention_graph(last(vision("bf16"))), {});
  EXPECT_THAT(plan.refusal, HasSubstr("compiles its kernel at run time, which needs a driver"));
}

TEST(CudaAttention, TheGradientComputesTheWeightsAnew) {
  const Graph graph = vision_gradient("bf16", "bf16[1, 8, 197, 197]");
  const auto gradient = cuda::attention_gradient_graphs(last(graph));
  ASSERT_TRUE(gradient);
  EXPECT_THAT(to_text(gradient->forward),
              HasSubstr("scratch0 : bf16[4, 8, 197, 64] strides [100864, 64, 512, 1]\n"));
  EXPECT_THAT(to_text(gradient->forward), HasSubstr("\nscratch1 = add(%7, %12)\n"));
  EXPECT_EQ(gradient->scratch, (std::vector<std::int64_t>{0, 806912, 832256}));
  EXPECT_EQ(gradient->scratch_bytes, 857600);
  EXPECT_EQ("\n" + to_text(gradient->backward), R"(
operand1 : bf16[4, 8, 197, 64] strides [302592, 64, 1536, 1]
operand2+512 : bf16[4, 8, 64, 197] strides [302592, 64, 1, 1536]
operand3+1024 : bf16[4, 8, 64, 197] strides [302592, 64, 1, 1536]
scratch0 : bf16[4, 8, 197, 64] strides [100864, 64, 512, 1]
operand0 : bf16[4, 8, 197, 64] strides [100864, 64, 512, 1]
scratch1 : f32[4, 8, 197, 1] strides [1576, 197, 1, 1]
scratch2 : f32[4, 8, 197, 1] strides [1576, 197, 1, 1]
operand4 : bf16[1, 8, 197, 197] strides [310472, 38809, 197, 1]
result0+1024 : bf16[4, 8, 197, 64] strides [302592, 64, 1536, 1]
result0+512 : bf16[4, 8, 197, 64] strides [302592, 64, 1536, 1]
result0 : bf16[4, 8, 197, 64] strides [302592, 64, 1536, 1]
%6 = multiply(operand0, scratch0) : f32[4, 8, 197, 64]
%7 = reduce_sum(%6) : f32[4, 8, 197, 1]
scratch2 = multiply(%7) settings [1]
%9 = matmul(operand1, operand2+512) : f32[4, 8, 197, 197]
%10 = multiply(%9) settings [0.125] : f32[4, 8, 197, 197]
%12 = add(%10, operand4) : f32[4, 8, 197, 197]
%13 = subtract(%12, scratch1) : f32[4, 8, 197, 197]
%14 = exp(%13) : f32[4, 8, 197, 197]
%15 = transpose(%14) : bf16[4, 8, 197, 197]
result0+1024 = matmul(%15, operand0)
%17 = matmul(operand0, operand3+1024) : f32[4, 8, 197, 197]
%18 = subtract(%17, scratch2) : f32[4, 8, 197, 197]
%19 = multiply(%18, %14) : f32[4, 8, 197, 197]
%20 = multiply(%19) settings [0.125] : f32[4, 8, 197, 197]
%21 = transpose(%20) : bf16[4, 8, 197, 197]
result0+512 = matmul(%21, operand1)
%23 = transpose(operand2+512) : bf16[4, 8, 197, 64]
result0 = matmul(%20, %23)
)");
}

TEST(CudaAttention, TheGradientHasEnginesIn16Bits) {
  const auto has_both = [](const Graph& graph, bool tf32 = false) {
    const auto gradient = cuda::attention_gradient_graphs(last(graph));
    return gradient && has_engines(gradient->forward, tf32) &&
           has_engines(gradient->backward, tf32);
  };
  for (const std::string dtype : {"bf16", "f16"}) {
    EXPECT_TRUE(has_both(vision_gradient(dtype))) << dtype;
    EXPECT_TRUE(has_both(vision_gradient(dtype, dtype + "[1, 8, 197, 197]"))) << dtype;
  }
  EXPECT_FALSE(has_both(vision_gradient("f32")));
}

TEST(CudaAttention, WhatHasNoGradientGraph) {
  const auto gradient = [](const std::string& operand, const std::string& attributes) {
    const Graph graph = testing::parse_body(
        "\n  %0 = input() {name = \"x\", type = \"" + operand + "\"} : " + operand +
        "\n  %1:3 = sdpa_bwd(%0, %0, %0, %0) {" + attributes + "} : (" + operand + ", " + operand +
        ", " + operand + ")\n  return \"y\" = %1.0\n");
    return cuda::attention_gradient_graphs(last(graph)).has_value();
  };
  const std::string all = "heads = 1, key = [0, 64, 64], query = [0, 64, 64], value = [0, 64, 64]";
  EXPECT_TRUE(gradient("bf16[4, 64, 49]", all));
  EXPECT_FALSE(gradient("bf16[4, 64, 49]", "clamp = [-1.0, 1.0], " + all));
  // No head reads the last channels of q, whose gradients are 0.
  EXPECT_FALSE(gradient("bf16[4, 64, 49]",
                        "heads = 1, key = [0, 48, 48], query = [0, 48, 48], value = [0, 64, 64]"));
  EXPECT_FALSE(cuda::attention_gradient_graphs(last(vision("bf16"))));
  const Graph with_bias = testing::parse_body(R"(
  %0 = input() {name = "x", type = "bf16[4, 64, 49]"} : bf16[4, 64, 49]
  %1 = input() {name = "b", type = "bf16[49, 49]"} : bf16[49, 49]
  %2:4 = sdpa_bwd(%0, %0, %0, %0, %1) {bias_gradient = true, extras = ["bias"], heads = 1, key = [0, 64, 64], query = [0, 64, 64], value = [0, 64, 64]} : (bf16[4, 64, 49], bf16[4, 64, 49], bf16[4, 64, 49], f32[49, 49])
  return "y" = %2.0
)");
  EXPECT_FALSE(cuda::attention_gradient_graphs(last(with_bias)));
}

TEST(CudaAttention, WhatIsNoSuchGraphSaysWhy) {
  const Graph relative = testing::parse_body(R"(
  %0 = input() {name = "q", type = "f32[1, 8, 5]"} : f32[1, 8, 5]
  %1 = input() {name = "t", type = "f32[9, 4]"} : f32[9, 4]
  %2 = sdpa(%0, %0, %0, %1) {extras = ["relative_query"], heads = 2, key = [0, 4, 4], query = [0, 4, 4], value = [0, 4, 4]} : f32[1, 8, 5]
  return "y" = %2
)");
  const Node& node = last(relative);
  EXPECT_EQ(cuda::attention_refusal(node), "it has relative_query");
  EXPECT_FALSE(cuda::attention_graph(node));
  EXPECT_EQ(cuda::attention_refusal(*node.operand(0).node), "'input' is no sdpa");
  EXPECT_EQ(cuda::attention_refusal(last(patches("bf16"))), "");
}

TEST(CudaAttention, TheChannelsOfATokenLieSideBySide) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "q", type = "f32[1, 8, 5]"} : f32[1, 8, 5]
  %1 = sdpa(%0, %0, %0) {heads = 2, key = [0, 4, 4], query = [0, 4, 4], value = [0, 4, 4]} : f32[1, 8, 5]
  return "y" = %1
)");
  const Node& node = last(graph);
  const LayoutChoice layouts = cuda::attention_layouts(node);
  EXPECT_EQ(layouts.operands, (std::vector<Layout>{"acb", "acb", "acb"}));
  EXPECT_EQ(layouts.results, std::vector<Layout>{"acb"});
  EXPECT_EQ(cuda::attention_layouts(last(patches("bf16"))).operands[0], "acdb");
  const std::vector<View> plain(3, dense_view(node.operand(0).type()));
  EXPECT_THAT(
      test::error_of([&] { cuda::attention_graph(node, plain, std::vector<View>(1, plain[0])); }),
      HasSubstr("reads the channels of a token side by side, not f32[1, 8, 5]"));
}

}  // namespace
}  // namespace facet
