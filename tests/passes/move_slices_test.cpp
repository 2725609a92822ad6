#include <string>

#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;

constexpr std::string_view kPass = "move-slices";

// The gradient of relu(concat(a, b)): the mask and its product go to the parts, along negative
// axes, too. The literal has no axes.
TEST(MoveSlices, TheGradientOfAConcatUnderARelu) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "y", type = "f32[2, 6, 3, 3]"} : f32[2, 6, 3, 3]
  %1 = input() {name = "dy", type = "f32[2, 6, 3, 3]"} : f32[2, 6, 3, 3]
  %2 = input() {name = "a", type = "f32[2, 4, 3, 3]"} : f32[2, 4, 3, 3]
  %3 = input() {name = "b", type = "f32[2, 2, 3, 3]"} : f32[2, 2, 3, 3]
  %4 = constant() {value = tensor<f32[]; [0.0]>} : f32[]
  %5 = greater(%0, %4) : f32[2, 6, 3, 3]
  %6 = where(%5, %1, %4) : f32[2, 6, 3, 3]
  %7 = slice(%6) {axis = 1, end = 4, start = 0} : f32[2, 4, 3, 3]
  %8 = slice(%6) {axis = -3, end = 6, start = 4} : f32[2, 2, 3, 3]
  %9 = add(%2, %7) : f32[2, 4, 3, 3]
  %10 = mul(%8, %3) : f32[2, 2, 3, 3]
  return "p" = %9, "q" = %10
)",
                 R"(
  %0 = input() {name = "y", type = "f32[2, 6, 3, 3]"} : f32[2, 6, 3, 3]
  %1 = input() {name = "dy", type = "f32[2, 6, 3, 3]"} : f32[2, 6, 3, 3]
  %2 = input() {name = "a", type = "f32[2, 4, 3, 3]"} : f32[2, 4, 3, 3]
  %3 = input() {name = "b", type = "f32[2, 2, 3, 3]"} : f32[2, 2, 3, 3]
  %4 = constant() {value = tensor<f32[]; [0.0]>} : f32[]
  %5 = slice(%0) {axis = 1, end = 4, start = 0} : f32[2, 4, 3, 3]
  %6 = greater(%5, %4) : f32[2, 4, 3, 3]
  %7 = slice(%1) {axis = 1, end = 4, start = 0} : f32[2, 4, 3, 3]
  %8 = where(%6, %7, %4) : f32[2, 4, 3, 3]
  %9 = slice(%0) {axis = 1, end = 6, start = 4} : f32[2, 2, 3, 3]
  %10 = greater(%9, %4) : f32[2, 2, 3, 3]
  %11 = slice(%1) {axis = 1, end = 6, start = 4} : f32[2, 2, 3, 3]
  %12 = where(%10, %11, %4) : f32[2, 2, 3, 3]
  %13 = add(%2, %8) : f32[2, 4, 3, 3]
  %14 = mul(%12, %3) : f32[2, 2, 3, 3]
  return "p" = %13, "q" = %14
)");
}

// A factor per pixel is broadcast along the channels and read whole; one per channel is cut at its
// own axis. What lies between two slices is not computed.
TEST(MoveSlices, BroadcastOperands) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[2, 6, 3, 3]"} : f32[2, 6, 3, 3]
  %1 = input() {name = "pixel", type = "f32[2, 1, 3, 3]"} : f32[2, 1, 3, 3]
  %2 = input() {name = "channel", type = "f32[6, 1, 1]"} : f32[6, 1, 1]
  %3 = mul(%0, %1) : f32[2, 6, 3, 3]
  %4 = add(%3, %2) : f32[2, 6, 3, 3]
  %5 = slice(%4) {axis = 1, end = 2, start = 0} : f32[2, 2, 3, 3]
  %6 = slice(%4) {axis = 1, end = 6, start = 5} : f32[2, 1, 3, 3]
  %7 = relu(%5) : f32[2, 2, 3, 3]
  %8 = add(%6, %1) : f32[2, 1, 3, 3]
  return "p" = %7, "q" = %8
)",
                 R"(
  %0 = input() {name = "x", type = "f32[2, 6, 3, 3]"} : f32[2, 6, 3, 3]
  %1 = input() {name = "pixel", type = "f32[2, 1, 3, 3]"} : f32[2, 1, 3, 3]
  %2 = input() {name = "channel", type = "f32[6, 1, 1]"} : f32[6, 1, 1]
  %3 = slice(%0) {axis = 1, end = 2, start = 0} : f32[2, 2, 3, 3]
  %4 = mul(%3, %1) : f32[2, 2, 3, 3]
  %5 = slice(%2) {axis = 0, end = 2, start = 0} : f32[2, 1, 1]
  %6 = add(%4, %5) : f32[2, 2, 3, 3]
  %7 = slice(%0) {axis = 1, end = 6, start = 5} : f32[2, 1, 3, 3]
  %8 = mul(%7, %1) : f32[2, 1, 3, 3]
  %9 = slice(%2) {axis = 0, end = 6, start = 5} : f32[1, 1, 1]
  %10 = add(%8, %9) : f32[2, 1, 3, 3]
  %11 = relu(%6) : f32[2, 2, 3, 3]
  %12 = add(%10, %1) : f32[2, 1, 3, 3]
  return "p" = %11, "q" = %12
)");
}

// What it is for: each part is computed inside of its reader, and the whole is gone.
TEST(MoveSlices, PartsMoveIntoTheirReaders) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[2, 6, 3, 3]"} : f32[2, 6, 3, 3]
  %1 = input() {name = "a", type = "f32[2, 3, 3, 3]"} : f32[2, 3, 3, 3]
  %2 = sigmoid(%0) : f32[2, 6, 3, 3]
  %3 = slice(%2) {axis = 1, end = 3, start = 0} : f32[2, 3, 3, 3]
  %4 = slice(%2) {axis = 1, end = 6, start = 3} : f32[2, 3, 3, 3]
  %5 = add(%3, %1) : f32[2, 3, 3, 3]
  %6 = mul(%4, %1) : f32[2, 3, 3, 3]
  return "p" = %5, "q" = %6
)");
  PassContext context;
  EXPECT_TRUE(move_slices(graph, context));
  EXPECT_TRUE(fuse_elementwise(graph, context));
  int fused = 0;
  for (Node* node : graph.node_list()) {
    if (node->is("input")) continue;
    if (node->is("slice")) {
      EXPECT_TRUE(node->operand(0).node->is("input"));
      continue;
    }
    EXPECT_TRUE(node->is("elementwise")) << node->kind();
    EXPECT_EQ(node->attributes().strings("program").size(), 2u);
    ++fused;
  }
  EXPECT_EQ(fused, 2);
}

// Refusals: each changes one thing of a graph that is taken apart.
std::string parts(const std::string& first, const std::string& second, const std::string& rest,
                  const std::string& outputs) {
  return R"(
  %0 = input() {name = "x", type = "f32[2, 6, 3, 3]"} : f32[2, 6, 3, 3]
  %1 = input() {name = "a", type = "f32[2, 3, 3, 3]"} : f32[2, 3, 3, 3]
  %2 = sigmoid(%0) : f32[2, 6, 3, 3]
  %3 = slice(%2) {)" +
         first + R"(} : f32[2, 3, 3, 3]
  %4 = slice(%2) {)" +
         second + R"(} : f32[2, 3, 3, 3]
)" + rest +
         "  return " + outputs + "\n";
}
const std::string kLow = "axis = 1, end = 3, start = 0", kHigh = "axis = 1, end = 6, start = 3";
const std::string kReaders =
    "  %5 = add(%3, %1) : f32[2, 3, 3, 3]\n"
    "  %6 = mul(%4, %1) : f32[2, 3, 3, 3]\n";

TEST(MoveSlices, RefusesWhatWouldBeComputedTwice) {
  expect_refusal(kPass,
                 parts(kLow, "axis = 1, end = 5, start = 2", kReaders, R"("p" = %5, "q" = %6)"));
  expect_refusal(kPass, parts(kLow, kHigh, kReaders, R"("p" = %5, "q" = %6, "whole" = %2)"));
  expect_refusal(kPass, parts(kLow, kHigh, kReaders + "  %7 = exp(%2) : f32[2, 6, 3, 3]\n",
                              R"("p" = %5, "q" = %6, "r" = %7)"));
}

TEST(MoveSlices, RefusesPartsThatWouldBeStepsOfTheirOwn) {
  expect_refusal(kPass, parts(kLow, kHigh, kReaders, R"("p" = %5, "q" = %6, "part" = %4)"));
  expect_refusal(kPass, parts(kLow, kHigh, kReaders + "  %7 = exp(%4) : f32[2, 3, 3, 3]\n",
                              R"("p" = %5, "q" = %6, "r" = %7)"));
  expect_refusal(kPass, parts(kLow, kHigh,
                              "  %5 = add(%3, %1) : f32[2, 3, 3, 3]\n"
                              "  %6 = reduce_sum(%4) {axes = [1]} : f32[2, 1, 3, 3]\n",
                              R"("p" = %5, "q" = %6)"));
}

// Slopes lie along axis 1, whatever their rank.
TEST(MoveSlices, RefusesAPrelu) {
  expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[2, 6, 3, 3]"} : f32[2, 6, 3, 3]
  %1 = input() {name = "slope", type = "f32[6]"} : f32[6]
  %2 = prelu(%0, %1) : f32[2, 6, 3, 3]
  %3 = slice(%2) {axis = 1, end = 3, start = 0} : f32[2, 3, 3, 3]
  %4 = relu(%3) : f32[2, 3, 3, 3]
  return "p" = %4
)");
}

}  // namespace
}  // namespace facet
