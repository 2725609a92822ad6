#include "backends/cuda/convolution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"
#include "tests/formats/temp_folder.h"
#include "tests/passes/pass_case.h"

// The graphs that convolutions are lowered to, in text: no GPU and no cuDNN is asked.
namespace facet {
namespace {

using cuda::OperationGraph;
using ::testing::HasSubstr;

/// The text of all graphs of the last node of the body, with a line between them.
std::string graphs_of(std::string_view body) {
  const Graph graph = testing::parse_body(body);
  const Node* last = graph.node_list().back();
  std::string text = "\n";
  for (const OperationGraph& part : cuda::convolution_graphs(*last)) {
    if (text.size() > 1) text += "--\n";
    text += to_text(part);
  }
  return text;
}

TEST(CudaConvolution, AloneItWritesItsResult) {
  EXPECT_EQ(graphs_of(R"(
  %0 = input() {name = "x", type = "bf16[2, 8, 6, 5]"} : bf16[2, 8, 6, 5]
  %1 = input() {name = "w", type = "bf16[16, 4, 3, 3]"} : bf16[16, 4, 3, 3]
  %2 = conv(%0, %1) {groups = 2, pads = [1, 0, 1, 0], strides = [2, 1]} : bf16[2, 16, 3, 3]
  return "y" = %2
)"),
            R"(
operand0 : bf16[2, 8, 6, 5] strides [240, 1, 40, 8]
operand1 : bf16[16, 4, 3, 3] strides [36, 1, 12, 4]
result0 : bf16[2, 16, 3, 3] strides [144, 1, 48, 16]
result0 = convolution(operand0, operand1) strides [2, 1] pads [1, 0, 1, 0] dilations [1, 1]
)");
}

TEST(CudaConvolution, TheEpilogueWorksOnTheAccumulators) {
  EXPECT_EQ(graphs_of(R"(
  %0 = input() {name = "x", type = "bf16[2, 8, 4, 4]"} : bf16[2, 8, 4, 4]
  %1 = input() {name = "w", type = "bf16[16, 8, 1, 1]"} : bf16[16, 8, 1, 1]
  %2 = input() {name = "b", type = "f32[16]"} : f32[16]
  %3 = input() {name = "r", type = "bf16[2, 16, 4, 4]"} : bf16[2, 16, 4, 4]
  %4 = input() {name = "s", type = "f32[1]"} : f32[1]
  %5 = conv(%0, %1, %2, %3, %4) {epilogue = ["bias", "add", "prelu"]} : bf16[2, 16, 4, 4]
  return "y" = %5
)"),
            R"(
operand0 : bf16[2, 8, 4, 4] strides [128, 1, 32, 8]
operand1 : bf16[16, 8, 1, 1] strides [8, 1, 8, 8]
result0 : bf16[2, 16, 4, 4] strides [256, 1, 64, 16]
operand2 : f32[1, 16, 1, 1] strides [16, 1, 16, 16]
operand3 : bf16[2, 16, 4, 4] strides [256, 1, 64, 16]
operand4 : f32[1, 1, 1, 1] strides [1, 1, 1, 1]
%3 = convolution(operand0, operand1) strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] : f32[2, 16, 4, 4]
%5 = add(%3, operand2) : f32[2, 16, 4, 4]
%7 = add(%5, operand3) : f32[2, 16, 4, 4]
%9 = relu(%7) : f32[2, 16, 4, 4]
%10 = negate(%7) : f32[2, 16, 4, 4]
%11 = relu(%10) : f32[2, 16, 4, 4]
%12 = multiply(%11, operand4) : f32[2, 16, 4, 4]
result0 = subtract(%9, %12)
)");
}

TEST(CudaConvolution, BranchesReadTheirRowsOfTheWeight) {
  const std::string text = graphs_of(R"(
  %0 = input() {name = "x", type = "f32[1, 4, 3, 3]"} : f32[1, 4, 3, 3]
  %1 = input() {name = "w", type = "f32[10, 4, 3, 3]"} : f32[10, 4, 3, 3]
  %2 = input() {name = "b", type = "f32[10]"} : f32[10]
  %3:2 = conv_branches(%0, %1, %2) {channels = [6, 4], epilogue = ["bias", "relu"], pads = [1, 1, 1, 1]} : (f32[1, 6, 3, 3], f32[1, 4, 3, 3])
  return "a" = %3.0, "b" = %3.1
)");
  EXPECT_THAT(text, HasSubstr("operand1 : f32[6, 4, 3, 3] strides [36, 1, 12, 4]\n"));
  EXPECT_THAT(
      text, HasSubstr("operand1+216 : f32[4, 4, 3, 3] strides [36, 1, 12, 4]\n"));  // 6 rows of 36
  EXPECT_THAT(text, HasSubstr("operand2+6 : f32[1, 4, 1, 1]"));
  EXPECT_THAT(text, HasSubstr("result1 = relu("));
}

TEST(CudaConvolution, GradientsOfWeightsAreF32) {
  const char* const body = R"(
  %0 = input() {name = "dy", type = "bf16[2, 16, 4, 4]"} : bf16[2, 16, 4, 4]
  %1 = input() {name = "x", type = "bf16[2, 8, 4, 4]"} : bf16[2, 8, 4, 4]
  %2:2 = conv_bwd_weights(%0, %1) {bias = true, kernel = [3, 3], pads = [1, 1, 1, 1]} : (f32[16, 8, 3, 3], f32[16])
  return "dw" = %2.0, "db" = %2.1
)";
  EXPECT_EQ(graphs_of(body), R"(
operand0 : bf16[2, 16, 4, 4] strides [256, 1, 64, 16]
operand1 : bf16[2, 8, 4, 4] strides [128, 1, 32, 8]
result0 : f32[16, 8, 3, 3] strides [72, 1, 24, 8]
%3 = weights_gradient(operand0, operand1) strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] : f32[16, 8, 3, 3]
result0 = copy(%3)
)");
  const Graph graph = testing::parse_body(body);
  const auto rounded =
      cuda::convolution_graphs(*graph.node_list().back(), cuda::WeightSums::rounded);
  ASSERT_EQ(rounded.size(), 1U);
  EXPECT_THAT(to_text(rounded[0]),
              HasSubstr("scratch0 : bf16[16, 8, 3, 3] strides [72, 1, 24, 8]\n"));
  EXPECT_THAT(to_text(rounded[0]), HasSubstr("scratch0 = weights_gradient(operand0, operand1)"));
}

TEST(CudaConvolution, GradientsOfDataTakeTheForwardWindow) {
  EXPECT_THAT(
      graphs_of(R"(
  %0 = input() {name = "dy", type = "f32[2, 16, 2, 2]"} : f32[2, 16, 2, 2]
  %1 = input() {name = "w", type = "f32[16, 8, 3, 3]"} : f32[16, 8, 3, 3]
  %2 = conv_bwd_data(%0, %1) {height = 4, pads = [1, 1, 1, 1], strides = [2, 2], width = 4} : f32[2, 8, 4, 4]
  return "dx" = %2
)"),
      HasSubstr(
          "result0 = data_gradient(operand0, operand1) strides [2, 2] pads [1, 1, 1, 1] dilations "
          "[1, 1]\n"));
}

TEST(CudaConvolution, AnEntryHasToFitTheResult) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 8, 4, 4]"} : f32[N, 8, 4, 4]
  %1 = input() {name = "w", type = "f32[16, 8, 1, 1]"} : f32[16, 8, 1, 1]
  %2 = conv(%0, %1) : f32[N, 16, 4, 4]
  return "y" = %2
)");
  const Node& conv = *graph.node_list().back();
  const Type same{DType::f32, {"N", 16, 4, 4}, {}};
  const Type pixels{DType::f32, {"N", 1, 4, 4}, {}};
  const Type channels{DType::f32, {16}, {}};
  const Type other{DType::f32, {8}, {}};
  EXPECT_EQ(cuda::graphs_with_entry(conv, "relu", nullptr).size(), 1U);
  EXPECT_EQ(cuda::graphs_with_entry(conv, "add", &same).size(), 1U);
  EXPECT_EQ(cuda::graphs_with_entry(conv, "mul", &pixels).size(), 1U);
  EXPECT_EQ(cuda::graphs_with_entry(conv, "prelu", &channels).size(), 1U);
  EXPECT_TRUE(cuda::graphs_with_entry(conv, "bias", &other).empty());
  EXPECT_TRUE(cuda::graphs_with_entry(conv, "add", &pixels).empty());
  EXPECT_TRUE(cuda::graphs_with_entry(conv, "add", nullptr).empty());
  EXPECT_TRUE(cuda::graphs_with_entry(conv, "relu", &same).empty());
  EXPECT_TRUE(cuda::graphs_with_entry(conv, "softmax", nullptr).empty());
}

TEST(CudaConvolution, BlockedLayoutsAndOtherNodesAreRefused) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[1, 16, 4, 4]"} : f32[1, 16, 4, 4]
  %1 = input() {name = "w", type = "f32[16, 16, 1, 1]"} : f32[16, 16, 1, 1]
  %2 = conv(%0, %1) : f32[1, 16, 4, 4]
  %3 = relu(%2) : f32[1, 16, 4, 4]
  return "y" = %3
)");
  const Node& relu = *graph.node_list().back();
  const Node& conv = *relu.operand(0).node;
  EXPECT_THAT(test::error_of([&] { cuda::convolution_graphs(relu); }),
              HasSubstr("'relu' is no convolution"));
  Type blocked = conv.operand(0).type();
  blocked.layout = "aBcd16b";
  const std::vector<View> operands{dense_view(blocked), dense_view(conv.operand(1).type())};
  const std::vector<View> results{dense_view(conv.result_types()[0])};
  EXPECT_THAT(test::error_of([&] { cuda::convolution_graphs(conv, operands, results); }),
              HasSubstr("f32[1, 16, 4, 4]@aBcd16b"));
}

}  // namespace
}  // namespace facet
