#include "passes/branch_cost.h"
#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"
#include "zoo/zoo.h"

namespace facet {
namespace {

using testing::changed;
using testing::expect_refusal;
using testing::expect_rewrite;
using testing::FakeTarget;
using testing::to_lines;

constexpr std::string_view kPass = "merge-branches";

// The way LS-CNN's dense layer begins; the branches' readers see what they saw.
constexpr std::string_view kSiblings = R"(
  %0 = input() {name = "x", type = "f32[N, 6, 5, 4]"} : f32[N, 6, 5, 4]
  %1 = parameter() {key = "b1.weight", type = "f32[4, 6, 1, 1]"} : f32[4, 6, 1, 1]
  %2 = parameter() {key = "b1.bias", type = "f32[4]"} : f32[4]
  %3 = conv(%0, %1, %2) {epilogue = ["bias", "relu"]} : f32[N, 4, 5, 4] @ "b1"
  %4 = tanh(%3) : f32[N, 4, 5, 4]
  %5 = parameter() {key = "b2.weight", type = "f32[3, 6, 1, 1]"} : f32[3, 6, 1, 1]
  %6 = parameter() {key = "b2.bias", type = "f32[3]"} : f32[3]
  %7 = conv(%0, %5, %6) {epilogue = ["bias", "relu"]} : f32[N, 3, 5, 4] @ "b2"
  %8 = concat(%4, %7) {axis = 1} : f32[N, 7, 5, 4]
  return "y" = %8
)";

TEST(MergeBranches, SiblingsBecomeOneWideConvolution) {
  const auto remarks = expect_rewrite(kPass, kSiblings, R"(
  %0 = input() {name = "x", type = "f32[N, 6, 5, 4]"} : f32[N, 6, 5, 4]
  %1 = parameter() {key = "b1.weight", type = "f32[4, 6, 1, 1]"} : f32[4, 6, 1, 1]
  %2 = parameter() {key = "b1.bias", type = "f32[4]"} : f32[4]
  %3 = parameter() {key = "b2.weight", type = "f32[3, 6, 1, 1]"} : f32[3, 6, 1, 1]
  %4 = concat(%1, %3) {axis = 0} : f32[7, 6, 1, 1] @ "b1"
  %5 = parameter() {key = "b2.bias", type = "f32[3]"} : f32[3]
  %6 = concat(%2, %5) {axis = 0} : f32[7] @ "b1"
  %7:2 = conv_branches(%0, %4, %6) {channels = [4, 3], epilogue = ["bias", "relu"]} : (f32[N, 4, 5, 4], f32[N, 3, 5, 4]) @ "b1"
  %8 = tanh(%7.0) : f32[N, 4, 5, 4]
  %9 = concat(%8, %7.1) {axis = 1} : f32[N, 7, 5, 4]
  return "y" = %9
)");
  EXPECT_EQ(to_lines(remarks), "applied merge-branches @ b1: 2 convs side by side\n");
}

// Groups by window: two wide convolutions, and a lone one that says whose window it has not.
TEST(MergeBranches, WindowsOfOneKindEach) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = parameter() {key = "a.weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "b.weight", type = "f32[2, 2, 3, 3]"} : f32[2, 2, 3, 3]
  %3 = parameter() {key = "c.weight", type = "f32[2, 2, 5, 5]"} : f32[2, 2, 5, 5]
  %4 = parameter() {key = "a.slope", type = "f32[2]"} : f32[2]
  %5 = conv(%0, %1, %4) {epilogue = ["prelu"]} : f32[N, 2, 5, 5] @ "a"
  %6 = conv(%0, %2) {pads = [1, 1, 1, 1]} : f32[N, 2, 5, 5] @ "b"
  %7 = conv(%0, %1, %4) {epilogue = ["prelu"]} : f32[N, 2, 5, 5] @ "a2"
  %8 = conv(%0, %2) {pads = [1, 1, 1, 1]} : f32[N, 2, 5, 5] @ "b2"
  %9 = conv(%0, %3) {pads = [2, 2, 2, 2]} : f32[N, 2, 5, 5] @ "c"
  return "a" = %5, "a2" = %7, "b" = %6, "b2" = %8, "c" = %9
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = parameter() {key = "a.weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "b.weight", type = "f32[2, 2, 3, 3]"} : f32[2, 2, 3, 3]
  %3 = parameter() {key = "c.weight", type = "f32[2, 2, 5, 5]"} : f32[2, 2, 5, 5]
  %4 = parameter() {key = "a.slope", type = "f32[2]"} : f32[2]
  %5 = concat(%1, %1) {axis = 0} : f32[4, 2, 1, 1] @ "a"
  %6 = concat(%4, %4) {axis = 0} : f32[4] @ "a"
  %7:2 = conv_branches(%0, %5, %6) {channels = [2, 2], epilogue = ["prelu"]} : (f32[N, 2, 5, 5], f32[N, 2, 5, 5]) @ "a"
  %8 = concat(%2, %2) {axis = 0} : f32[4, 2, 3, 3] @ "b"
  %9:2 = conv_branches(%0, %8) {channels = [2, 2], pads = [1, 1, 1, 1]} : (f32[N, 2, 5, 5], f32[N, 2, 5, 5]) @ "b"
  %10 = conv(%0, %3) {pads = [2, 2, 2, 2]} : f32[N, 2, 5, 5] @ "c"
  return "a" = %7.0, "a2" = %7.1, "b" = %9.0, "b2" = %9.1, "c" = %10
)");
  EXPECT_EQ(to_lines(remarks),
            "missed merge-branches @ c: conv beside 'a': their windows differ\n"
            "applied merge-branches @ a: 2 convs side by side\n"
            "applied merge-branches @ b: 2 convs side by side\n");
}

/// The siblings with one text for another, which must not be merged for `reason`.
void expect_missed(std::string_view from, std::string_view to, std::string_view lines) {
  const std::string body = changed(kSiblings, from, to);
  ASSERT_FALSE(body.empty()) << from;
  EXPECT_EQ(to_lines(expect_refusal(kPass, body)), lines);
}

TEST(MergeBranches, RefusesAnotherEpilogue) {
  expect_missed(R"({epilogue = ["bias", "relu"]} : f32[N, 3, 5, 4] @ "b2")",
                R"({epilogue = ["bias"]} : f32[N, 3, 5, 4] @ "b2")",
                "missed merge-branches @ b2: conv beside 'b1': their epilogues differ\n");
}

TEST(MergeBranches, RefusesOtherStridesPaddingAndGroups) {
  const auto body = [](std::string_view attributes, std::string_view weight) {
    std::string text = R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = parameter() {key = "a.weight", type = "f32[2, 2, 3, 3]"} : f32[2, 2, 3, 3]
  %2 = conv(%0, %1) {pads = [1, 1, 1, 1]} : f32[N, 2, 5, 5] @ "a"
  %3 = parameter() {key = "b.weight", type = "f32[WEIGHT]"} : f32[WEIGHT]
  %4 = conv(%0, %3) {ATTRIBUTES @ "b"
  return "a" = %2, "b" = %4
)";
    for (std::size_t at = text.find("WEIGHT"); at != std::string::npos; at = text.find("WEIGHT")) {
      text.replace(at, 6, weight);
    }
    return text.replace(text.find("ATTRIBUTES"), 10, attributes);
  };
  EXPECT_EQ(
      to_lines(expect_refusal(
          kPass, body("pads = [1, 1, 1, 1], strides = [2, 2]} : f32[N, 2, 3, 3]", "2, 2, 3, 3"))),
      "missed merge-branches @ b: conv beside 'a': their strides, padding or dilations differ\n");
  EXPECT_EQ(to_lines(expect_refusal(
                kPass, body("groups = 2, pads = [1, 1, 1, 1]} : f32[N, 2, 5, 5]", "2, 1, 3, 3"))),
            "missed merge-branches @ b: conv beside conv: it has groups\n");
}

TEST(MergeBranches, RefusesResidualsRunTimeWeightsAndSharedSlopes) {
  EXPECT_EQ(
      to_lines(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 5, 5]"} : f32[N, 2, 5, 5]
  %1 = input() {name = "w", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "a.weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %3 = parameter() {key = "slope", type = "f32[1]"} : f32[1]
  %4 = conv(%0, %2, %0) {epilogue = ["add"]} : f32[N, 2, 5, 5] @ "residual"
  %5 = conv(%0, %1) : f32[N, 2, 5, 5] @ "run-time"
  %6 = conv(%0, %2, %3) {epilogue = ["prelu"]} : f32[N, 2, 5, 5] @ "slope"
  return "a" = %4, "b" = %5, "c" = %6
)")),
      "missed merge-branches @ residual: conv beside conv: its epilogue reads a value of its "
      "result's size (add)\n"
      "missed merge-branches @ run-time: conv beside conv: its weights are computed while the "
      "network runs\n"
      "missed merge-branches @ slope: conv beside conv: it has one slope for all channels\n");
}

TEST(MergeBranches, RefusesWhatTheTargetLacks) {
  FakeTarget target;
  target.supported = [](const Node& node) { return !node.is("conv_branches"); };
  PassContext context;
  context.target = &target;
  EXPECT_EQ(to_lines(expect_refusal(kPass, kSiblings, context)),
            "missed merge-branches @ b1: 2 convs side by side: the fake target has no wide form of "
            "them\n");
}

// Two convolutions whose weights stay in the cache one by one, but not together, on a large image.
TEST(MergeBranches, RefusesWhatDoesNotPay) {
  const std::string_view body = R"(
  %0 = input() {name = "x", type = "f32[1, 64, 40, 40]"} : f32[1, 64, 40, 40]
  %1 = parameter() {key = "a.weight", type = "f32[256, 64, 3, 3]"} : f32[256, 64, 3, 3]
  %2 = conv(%0, %1) {pads = [1, 1, 1, 1]} : f32[1, 256, 40, 40] @ "a"
  %3 = parameter() {key = "b.weight", type = "f32[256, 64, 3, 3]"} : f32[256, 64, 3, 3]
  %4 = conv(%0, %3) {pads = [1, 1, 1, 1]} : f32[1, 256, 40, 40] @ "b"
  return "a" = %2, "b" = %4
)";
  EXPECT_EQ(to_lines(expect_refusal(kPass, body)),
            "missed merge-branches @ a: 2 convs side by side: one wide convolution would take "
            "longer\n");
}

TEST(BranchCost, CountsVectorsPassesAndStarts) {
  const BranchShape third{240, 961, 120, 961, 1};
  BranchShape wide = third;
  wide.out_channels = 360;
  // 23 vectors instead of 24, one read of the input instead of three, one start instead of three.
  const double saved = 961 * 240 + (2 * 240 * 961 + 16 * 240) / 4.0 + 2 * 4000;
  EXPECT_DOUBLE_EQ(3 * branch_cost(third) - branch_cost(wide), saved);
  // Beyond the cache the input is read once for every 64 outputs.
  BranchShape large{64, 1600, 256, 1600, 9};
  BranchShape larger = large;
  larger.out_channels = 512;
  EXPECT_GT(branch_cost(larger), 2 * branch_cost(large));
}

TEST(MergeBranches, EveryDenseAndTransitionLayerOfLscnn) {
  Graph graph = zoo::build("lscnn", {});
  PassContext context;
  run_pipeline(graph, optimization_pipeline(), context);
  int wide = 0;
  for (const auto& node : graph.nodes()) {
    if (!node->is("conv_branches")) continue;
    ++wide;
    EXPECT_EQ(node->result_count(), 3);
    EXPECT_EQ(node->provenance().origins.size() >= 3U, true) << node->provenance().scope;
  }
  EXPECT_EQ(wide, 13);
}

}  // namespace
}  // namespace facet
