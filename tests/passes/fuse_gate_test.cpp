#include <fmt/format.h>

#include <map>

#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"
#include "zoo/blocks/cbam.h"
#include "zoo/blocks/dual_face_attention.h"
#include "zoo/blocks/squeeze_excite.h"
#include "zoo/zoo.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;
using testing::to_lines;

constexpr std::string_view kPass = "fuse-gate";

TEST(FuseGate, SqueezeExcite) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4, 4]"} : f32[N, 6, 4, 4]
  %1 = reduce_mean(%0) {axes = [2, 3]} : f32[N, 6, 1, 1]
  %2 = reshape(%1) {shape = [0, 6]} : f32[N, 6]
  %3 = parameter() {key = "a.weight", type = "f32[2, 6]"} : f32[2, 6]
  %4 = linear(%2, %3) : f32[N, 2] @ "se.fc1"
  %5 = relu(%4) : f32[N, 2] @ "se.fc1"
  %6 = parameter() {key = "b.weight", type = "f32[6, 2]"} : f32[6, 2]
  %7 = linear(%5, %6) : f32[N, 6] @ "se.fc2"
  %8 = sigmoid(%7) : f32[N, 6] @ "se.fc2"
  %9 = reshape(%8) {shape = [0, 6, 1, 1]} : f32[N, 6, 1, 1]
  %10 = mul(%9, %0) : f32[N, 6, 4, 4] @ "se"
  return "y" = %10
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4, 4]"} : f32[N, 6, 4, 4]
  %1 = parameter() {key = "a.weight", type = "f32[2, 6]"} : f32[2, 6]
  %2 = parameter() {key = "b.weight", type = "f32[6, 2]"} : f32[6, 2]
  %3 = transpose(%2) {permutation = [1, 0]} : f32[2, 6] @ "se"
  %4 = gate(%0, %1, %3) {extras = ["channel_w1", "channel_w2"], stages = ["channels"]} : f32[N, 6, 4, 4] @ "se"
  return "y" = %4
)");
  EXPECT_EQ(to_lines(remarks), "applied fuse-gate @ se: gate channels\n");
}

// MLA's block: the two paths share their weights, and residual and relu stand behind.
TEST(FuseGate, ChannelsThenWindowThenResidualAndRelu) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4, 5]"} : f32[N, 6, 4, 5]
  %1 = input() {name = "r", type = "f32[N, 6, 4, 5]"} : f32[N, 6, 4, 5]
  %2 = reduce_mean(%0) {axes = [2, 3]} : f32[N, 6, 1, 1]
  %3 = parameter() {key = "a.weight", type = "f32[2, 6, 1, 1]"} : f32[2, 6, 1, 1]
  %4 = conv(%2, %3) : f32[N, 2, 1, 1] @ "at.ca.fc.0"
  %5 = relu(%4) : f32[N, 2, 1, 1]
  %6 = parameter() {key = "b.weight", type = "f32[6, 2, 1, 1]"} : f32[6, 2, 1, 1]
  %7 = conv(%5, %6) : f32[N, 6, 1, 1] @ "at.ca.fc.2"
  %8 = reduce_max(%0) {axes = [2, 3]} : f32[N, 6, 1, 1]
  %9 = conv(%8, %3) : f32[N, 2, 1, 1] @ "at.ca.fc.0"
  %10 = relu(%9) : f32[N, 2, 1, 1]
  %11 = conv(%10, %6) : f32[N, 6, 1, 1] @ "at.ca.fc.2"
  %12 = parameter() {key = "lf", type = "f32[1]"} : f32[1]
  %13 = mul(%11, %12) : f32[N, 6, 1, 1] @ "at.ca.lf"
  %14 = add(%7, %13) : f32[N, 6, 1, 1] @ "at.ca.lf"
  %15 = sigmoid(%14) : f32[N, 6, 1, 1]
  %16 = mul(%15, %0) : f32[N, 6, 4, 5]
  %17 = reduce_mean(%16) {axes = [1]} : f32[N, 1, 4, 5]
  %18 = reduce_max(%16) {axes = [1]} : f32[N, 1, 4, 5]
  %19 = concat(%17, %18) {axis = 1} : f32[N, 2, 4, 5]
  %20 = parameter() {key = "c.weight", type = "f32[1, 2, 3, 3]"} : f32[1, 2, 3, 3]
  %21 = conv(%19, %20) {pads = [1, 1, 1, 1]} : f32[N, 1, 4, 5] @ "at.sa"
  %22 = sigmoid(%21) : f32[N, 1, 4, 5]
  %23 = mul(%22, %16) : f32[N, 6, 4, 5]
  %24 = add(%23, %1) : f32[N, 6, 4, 5] @ "sum"
  %25 = relu(%24) : f32[N, 6, 4, 5] @ "sum"
  return "y" = %25
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4, 5]"} : f32[N, 6, 4, 5]
  %1 = input() {name = "r", type = "f32[N, 6, 4, 5]"} : f32[N, 6, 4, 5]
  %2 = parameter() {key = "a.weight", type = "f32[2, 6, 1, 1]"} : f32[2, 6, 1, 1]
  %3 = parameter() {key = "b.weight", type = "f32[6, 2, 1, 1]"} : f32[6, 2, 1, 1]
  %4 = parameter() {key = "lf", type = "f32[1]"} : f32[1]
  %5 = parameter() {key = "c.weight", type = "f32[1, 2, 3, 3]"} : f32[1, 2, 3, 3]
  %6 = reshape(%2) {shape = [2, 6]} : f32[2, 6] @ "sum"
  %7 = reshape(%3) {shape = [6, 2]} : f32[6, 2] @ "sum"
  %8 = transpose(%7) {permutation = [1, 0]} : f32[2, 6] @ "sum"
  %9 = reshape(%5) {shape = [2, 3, 3]} : f32[2, 3, 3] @ "sum"
  %10 = gate(%0, %6, %8, %4, %9, %1) {extras = ["channel_w1", "channel_w2", "gamma", "window_w", "residual"], pooling = "mean_max", relu = true, stages = ["channels", "window"]} : f32[N, 6, 4, 5] @ "at"
  return "y" = %10
)");
  EXPECT_EQ(to_lines(remarks), "applied fuse-gate @ at: gate channels+window+add+relu\n");
}

/// A map of pixels on `x` by a hidden layer, with biases in an epilogue and beside it.
std::string pixels(std::string_view x, std::string_view end) {
  return fmt::format(R"(
  %0 = input() {{name = "x", type = "f32[{0}]"}} : f32[{0}]
  %1 = parameter() {{key = "a.weight", type = "f32[3, 6, 1, 1]"}} : f32[3, 6, 1, 1]
  %2 = parameter() {{key = "a.bias", type = "f32[3]"}} : f32[3]
  %3 = conv(%0, %1, %2) {{epilogue = ["bias"]}} : f32[N, 3, 4, 4] @ "map.0"
  %4 = relu(%3) : f32[N, 3, 4, 4] @ "map.1"
  %5 = parameter() {{key = "b.weight", type = "f32[1, 3, 1, 1]"}} : f32[1, 3, 1, 1]
  %6 = conv(%4, %5) : f32[N, 1, 4, 4] @ "map.2"
  %7 = parameter() {{key = "b.bias", type = "f32[1, 1, 1]"}} : f32[1, 1, 1]
  %8 = add(%6, %7) : f32[N, 1, 4, 4] @ "map.2"
  %9 = sigmoid(%8) : f32[N, 1, 4, 4] @ "map.3"
{1})",
                     x, end.substr(1));
}

constexpr std::string_view kProduct = R"(
  %10 = mul(%0, %9) : f32[N, 6, 4, 4] @ "map"
  return "y" = %10
)";

TEST(FuseGate, PixelsWithBiases) {
  expect_rewrite(kPass, pixels("N, 6, 4, 4", kProduct), R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4, 4]"} : f32[N, 6, 4, 4]
  %1 = parameter() {key = "a.weight", type = "f32[3, 6, 1, 1]"} : f32[3, 6, 1, 1]
  %2 = parameter() {key = "a.bias", type = "f32[3]"} : f32[3]
  %3 = parameter() {key = "b.weight", type = "f32[1, 3, 1, 1]"} : f32[1, 3, 1, 1]
  %4 = parameter() {key = "b.bias", type = "f32[1, 1, 1]"} : f32[1, 1, 1]
  %5 = reshape(%1) {shape = [3, 6]} : f32[3, 6] @ "map"
  %6 = transpose(%5) {permutation = [1, 0]} : f32[6, 3] @ "map"
  %7 = reshape(%3) {shape = [-1]} : f32[3] @ "map"
  %8 = reshape(%4) {shape = [-1]} : f32[1] @ "map"
  %9 = gate(%0, %6, %2, %7, %8) {extras = ["pixel_w1", "pixel_b1", "pixel_w2", "pixel_b2"], stages = ["pixels"]} : f32[N, 6, 4, 4] @ "map"
  return "y" = %9
)");
}

/// The one remark, without pass and scope.
std::string reason_of(const std::vector<Remark>& remarks) {
  EXPECT_EQ(remarks.size(), 1U) << to_lines(remarks);
  return remarks.empty() ? "" : remarks[0].reason;
}

TEST(FuseGate, RefusesAMapThatOthersRead) {
  EXPECT_EQ(reason_of(expect_refusal(kPass, pixels("N, 6, 4, 4", R"(
  %10 = mul(%0, %9) : f32[N, 6, 4, 4] @ "map"
  %11 = exp(%9) : f32[N, 1, 4, 4]
  return "y" = %10, "z" = %11
)"))),
            "the result of sigmoid 'map.3' is read by exp too");
}

TEST(FuseGate, RefusesAMapThatIsAnOutput) {
  EXPECT_EQ(reason_of(expect_refusal(kPass, pixels("N, 6, 4, 4", R"(
  %10 = mul(%0, %9) : f32[N, 6, 4, 4] @ "map"
  return "y" = %10, "map" = %4
)"))),
            "the result of relu 'map.1' is an output");
}

TEST(FuseGate, RefusesTheMapOfAnotherValue) {
  EXPECT_EQ(reason_of(expect_refusal(kPass, pixels("N, 6, 4, 4", R"(
  %10 = exp(%0) : f32[N, 6, 4, 4]
  %11 = mul(%10, %9) : f32[N, 6, 4, 4] @ "map"
  return "y" = %11
)"))),
            "the pixels' gate sees another map");
}

TEST(FuseGate, RefusesExtentsThatAreNotFixed) {
  EXPECT_EQ(reason_of(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, C, 4, 4]"} : f32[N, C, 4, 4]
  %1 = reduce_mean(%0) {axes = [1]} : f32[N, 1, 4, 4]
  %2 = sigmoid(%1) : f32[N, 1, 4, 4]
  %3 = mul(%0, %2) : f32[N, C, 4, 4]
  return "y" = %3
)")),
            "f32[N, C, 4, 4] is not fixed");
}

// Coordinate attention's gates: one number a row.
TEST(FuseGate, RefusesGatesAlongOneSide) {
  EXPECT_EQ(reason_of(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4, 5]"} : f32[N, 6, 4, 5]
  %1 = reduce_mean(%0) {axes = [3]} : f32[N, 6, 4, 1]
  %2 = sigmoid(%1) : f32[N, 6, 4, 1]
  %3 = mul(%0, %2) : f32[N, 6, 4, 5]
  return "y" = %3
)")),
            "the gate is f32[N, 6, 4, 1]: neither one number a channel nor one a pixel of "
            "f32[N, 6, 4, 5]");
}

/// A window over two reductions of x.
std::string window(std::string_view first, std::string_view second, std::string_view attributes) {
  return fmt::format(R"(
  %0 = input() {{name = "x", type = "f32[N, 4, 4, 4]"}} : f32[N, 4, 4, 4]
  %1 = {0} : f32[N, 1, 4, 4]
  %2 = {1} : f32[N, 1, 4, 4]
  %3 = concat(%1, %2) {{axis = 1}} : f32[N, 2, 4, 4]
  %4 = parameter() {{key = "weight", type = "f32[1, 2, 3, 3]"}} : f32[1, 2, 3, 3]
  %5 = conv(%3, %4) {{{2}}} : f32[N, 1, 4, 4]
  %6 = sigmoid(%5) : f32[N, 1, 4, 4]
  %7 = mul(%0, %6) : f32[N, 4, 4, 4]
  return "y" = %7
)",
                     first, second, attributes);
}

TEST(FuseGate, RefusesWindowsOfOtherReductions) {
  EXPECT_EQ(reason_of(expect_refusal(
                kPass, window("reduce_mean(%0) {axes = [1]}", "reduce_sum(%0) {axes = [1]}",
                              "pads = [1, 1, 1, 1]"))),
            "the gate sees reduce_sum where reduce_max is expected");
  EXPECT_EQ(reason_of(expect_refusal(
                kPass, window("reduce_mean(%0) {axes = [1]}", "reduce_max(%0) {axes = [1]}",
                              "dilations = [2, 2], pads = [2, 2, 2, 2]"))),
            "the window is not a square, odd one that keeps the map's extents");
}

/// A vote of the mean over `axes`, with hidden weights `a` and outputs `b`.
std::string vote(std::string_view axes, std::string_view kind) {
  return fmt::format(R"(
  %0 = input() {{name = "x", type = "f32[N, 6, 1, 6]"}} : f32[N, 6, 1, 6]
  %1 = reduce_mean(%0) {{axes = {0}}} : f32[N, 6, 1, 1]
  %2 = parameter() {{key = "a.weight", type = "f32[2, 6, 1, 1]"}} : f32[2, 6, 1, 1]
  %3 = conv(%1, %2) : f32[N, 2, 1, 1]
  %4 = {1}(%3) : f32[N, 2, 1, 1]
  %5 = parameter() {{key = "b.weight", type = "f32[6, 2, 1, 1]"}} : f32[6, 2, 1, 1]
  %6 = conv(%4, %5) : f32[N, 6, 1, 1]
  %7 = sigmoid(%6) : f32[N, 6, 1, 1]
  %8 = mul(%0, %7) : f32[N, 6, 1, 6]
  return "y" = %8
)",
                     axes, kind);
}

TEST(FuseGate, RefusesOtherAxesAndFunctions) {
  EXPECT_EQ(reason_of(expect_refusal(kPass, vote("[3]", "relu"))),
            "reduce_mean is over axes [3], not [2, 3]");
  EXPECT_EQ(reason_of(expect_refusal(kPass, vote("[2, 3]", "tanh"))),
            "the channels' hidden layer passes tanh, not relu");
}

TEST(FuseGate, RefusesWeightsThatTheNetworkComputes) {
  EXPECT_EQ(reason_of(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4, 4]"} : f32[N, 6, 4, 4]
  %1 = input() {name = "w", type = "f32[1, 6, 1, 1]"} : f32[1, 6, 1, 1]
  %2 = conv(%0, %1) : f32[N, 1, 4, 4]
  %3 = sigmoid(%2) : f32[N, 1, 4, 4]
  %4 = mul(%0, %3) : f32[N, 6, 4, 4]
  return "y" = %4
)")),
            "the weights of the pixels' gate are computed while the network runs");
}

// x * sigmoid(conv(x)) of x's own shape stays with the elementwise passes, without a word.
TEST(FuseGate, LeavesGatesOfFullSizeAlone) {
  EXPECT_EQ(to_lines(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 6, 4, 4]"} : f32[N, 6, 4, 4]
  %1 = sigmoid(%0) : f32[N, 6, 4, 4]
  %2 = mul(%0, %1) : f32[N, 6, 4, 4]
  return "y" = %2
)")),
            "");
}

// The product of the first gate is read elsewhere: the gates stay two steps.
TEST(FuseGate, TwoGatesWithAReaderBetween) {
  const auto counts = [](bool other_reader) {
    Network network("g");
    const Tensor x = network.input("x", {Dim("N"), 8, 4, 4});
    const Scope root = network.root();
    const Tensor seen = zoo::location_attention(root / "map", x, 2);
    network.output("y", zoo::squeeze_excite(root / "se", seen, 2));
    if (other_reader) network.output("seen", seen);
    Graph graph = network.finish();
    const Graph before = graph.clone();
    PassContext context;
    const std::vector<Pass> passes{find_pass(kPass), find_pass("eliminate-dead-code")};
    run_pipeline(graph, passes, context);
    EXPECT_LE(testing::worst_difference(testing::evaluate_filled(before),
                                        testing::evaluate_filled(graph)),
              1e-12);
    return to_lines(context.remarks);
  };
  EXPECT_EQ(counts(false), "applied fuse-gate @ : gate pixels+channels\n");
  EXPECT_EQ(counts(true),
            "applied fuse-gate @ map.spatial_atten: gate pixels\n"
            "applied fuse-gate @ se: gate channels\n");
}

TEST(FuseGate, CbamIsOneStep) {
  Network network("g");
  const Tensor x = network.input("x", {Dim("N"), 32, 5, 4});
  network.output("y", zoo::cbam(network.root() / "b", x, 8));
  Graph graph = network.finish();
  const Graph before = graph.clone();
  const testing::FakeTarget target;
  PassContext context;
  context.target = &target;
  context.evaluate = testing::reference_evaluator();
  run_pipeline(graph, optimization_pipeline(), context);
  std::map<std::string, int> steps;
  for (const auto& node : graph.nodes()) {
    if (!is_prepared(node->result())) ++steps[std::string(node->kind())];
  }
  EXPECT_EQ(steps, (std::map<std::string, int>{{"gate", 1}, {"input", 1}}));
  EXPECT_LE(
      testing::worst_difference(testing::evaluate_filled(before), testing::evaluate_filled(graph)),
      1e-12);
}

TEST(FuseGate, TheZoosAttention) {
  const std::map<std::string, std::pair<std::string, int>> expected{
      {"lscnn", {"gate pixels+channels", 13}},
      {"mla_iresnet18", {"gate channels+window+add+relu", 8}},
      {"mla_iresnet34", {"gate channels+window+add+relu", 16}},
      {"mla_iresnet50", {"gate channels+window+add+relu", 24}},
      {"mla_iresnet100", {"gate channels+window+add+relu", 49}},
      {"mla_iresnet200", {"gate channels+window+add+relu", 98}}};
  for (const auto& [model, patterns] : expected) {
    SCOPED_TRACE(model);
    Graph graph = zoo::build(model, {});
    const testing::FakeTarget target;
    PassContext context;
    context.target = &target;
    context.evaluate = testing::reference_evaluator();
    run_pipeline(graph, optimization_pipeline(), context);
    std::map<std::string, int> found;
    for (const Remark& remark : context.remarks) {
      if (remark.pass == kPass) ++found[remark.pattern + remark.reason];
    }
    EXPECT_EQ(found, (std::map<std::string, int>{patterns}));
  }
}

}  // namespace
}  // namespace facet
