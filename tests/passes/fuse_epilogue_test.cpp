#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;
using testing::FakeTarget;
using testing::to_lines;

constexpr std::string_view kPass = "fuse-epilogue";

TEST(FuseEpilogue, BiasAndRelu) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[3, 2, 3, 3]"} : f32[3, 2, 3, 3]
  %2 = parameter() {key = "b", type = "f32[3, 1, 1]"} : f32[3, 1, 1]
  %3 = conv(%0, %1) {pads = [1, 1, 1, 1]} : f32[N, 3, 4, 4] @ "conv"
  %4 = add(%3, %2) : f32[N, 3, 4, 4] @ "shift"
  %5 = relu(%4) : f32[N, 3, 4, 4] @ "act"
  return "y" = %5
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[3, 2, 3, 3]"} : f32[3, 2, 3, 3]
  %2 = parameter() {key = "b", type = "f32[3, 1, 1]"} : f32[3, 1, 1]
  %3 = reshape(%2) {shape = [-1]} : f32[3] @ "shift"
  %4 = conv(%0, %1, %3) {epilogue = ["bias", "relu"], pads = [1, 1, 1, 1]} : f32[N, 3, 4, 4] @ "conv"
  return "y" = %4
)");
  EXPECT_EQ(to_lines(remarks), "applied fuse-epilogue @ conv: conv+bias+relu\n");
}

TEST(FuseEpilogue, BiasBehindALinearAsItIs) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 7, 5]"} : f32[N, 7, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "bias", type = "f32[3]"} : f32[3]
  %3 = linear(%0, %1) : f32[N, 7, 3] @ "fc"
  %4 = add(%2, %3) : f32[N, 7, 3]
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 7, 5]"} : f32[N, 7, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "bias", type = "f32[3]"} : f32[3]
  %3 = linear(%0, %1, %2) {epilogue = ["bias"]} : f32[N, 7, 3] @ "fc"
  return "y" = %3
)");
}

// Full-size because the shapes are static and the map is 1 x 1: still one number per channel.
TEST(FuseEpilogue, BiasOfAOneByOneMap) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[1, 2, 1, 1]"} : f32[1, 2, 1, 1]
  %1 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %2 = parameter() {key = "b", type = "f32[1, 3, 1, 1]"} : f32[1, 3, 1, 1]
  %3 = conv(%0, %1) : f32[1, 3, 1, 1] @ "conv"
  %4 = add(%3, %2) : f32[1, 3, 1, 1]
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "x", type = "f32[1, 2, 1, 1]"} : f32[1, 2, 1, 1]
  %1 = parameter() {key = "weight", type = "f32[3, 2, 1, 1]"} : f32[3, 2, 1, 1]
  %2 = parameter() {key = "b", type = "f32[1, 3, 1, 1]"} : f32[1, 3, 1, 1]
  %3 = reshape(%2) {shape = [-1]} : f32[3]
  %4 = conv(%0, %1, %3) {epilogue = ["bias"]} : f32[1, 3, 1, 1] @ "conv"
  return "y" = %4
)");
}

TEST(FuseEpilogue, PreluPerChannelAndShared) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "bias", type = "f32[2]"} : f32[2]
  %3 = conv(%0, %1, %2) {epilogue = ["bias"]} : f32[N, 2, 4, 4] @ "conv1"
  %4 = parameter() {key = "slope", type = "f32[2]"} : f32[2]
  %5 = prelu(%3, %4) : f32[N, 2, 4, 4] @ "prelu1"
  %6 = conv(%5, %1) : f32[N, 2, 4, 4] @ "conv2"
  %7 = parameter() {key = "one.slope", type = "f32[1]"} : f32[1]
  %8 = prelu(%6, %7) : f32[N, 2, 4, 4] @ "prelu2"
  return "y" = %8
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "bias", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "slope", type = "f32[2]"} : f32[2]
  %4 = conv(%0, %1, %2, %3) {epilogue = ["bias", "prelu"]} : f32[N, 2, 4, 4] @ "conv1"
  %5 = parameter() {key = "one.slope", type = "f32[1]"} : f32[1]
  %6 = conv(%4, %1, %5) {epilogue = ["prelu"]} : f32[N, 2, 4, 4] @ "conv2"
  return "y" = %6
)");
}

// Behind a linear the epilogue's channels are the last axis, the prelu's are axis 1.
TEST(FuseEpilogue, PreluBehindALinearOverTwoAxes) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 5]"} : f32[N, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "slope", type = "f32[3]"} : f32[3]
  %3 = linear(%0, %1) : f32[N, 3] @ "fc"
  %4 = prelu(%3, %2) : f32[N, 3]
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 5]"} : f32[N, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "slope", type = "f32[3]"} : f32[3]
  %3 = linear(%0, %1, %2) {epilogue = ["prelu"]} : f32[N, 3] @ "fc"
  return "y" = %3
)");
}

TEST(FuseEpilogue, RefusesPreluOverAnotherAxis) {
  for (const std::string_view slope : {"7", "3"}) {  // with 3 the shapes would not tell
    std::string body = R"(
  %0 = input() {name = "x", type = "f32[N, L, 5]"} : f32[N, L, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "slope", type = "f32[L]"} : f32[L]
  %3 = linear(%0, %1) : f32[N, L, 3] @ "fc"
  %4 = prelu(%3, %2) : f32[N, L, 3]
  return "y" = %4
)";
    for (std::size_t at = body.find('L'); at != std::string::npos; at = body.find('L')) {
      body.replace(at, 1, slope);
    }
    EXPECT_EQ(to_lines(expect_refusal(kPass, body)),
              "missed fuse-epilogue @ fc: linear+prelu: the slopes do not run along the last axis\n");
  }
}

TEST(FuseEpilogue, SharedPreluBehindALinearOverThreeAxes) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 7, 5]"} : f32[N, 7, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "slope", type = "f32[1]"} : f32[1]
  %3 = linear(%0, %1) : f32[N, 7, 3] @ "fc"
  %4 = prelu(%3, %2) : f32[N, 7, 3]
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 7, 5]"} : f32[N, 7, 5]
  %1 = parameter() {key = "weight", type = "f32[3, 5]"} : f32[3, 5]
  %2 = parameter() {key = "slope", type = "f32[1]"} : f32[1]
  %3 = linear(%0, %1, %2) {epilogue = ["prelu"]} : f32[N, 7, 3] @ "fc"
  return "y" = %3
)");
}

// The residual is computed behind the conv: the fused node stands where both are known.
TEST(FuseEpilogue, ResidualOnEitherSideAndDefinedLater) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = conv(%0, %1) : f32[N, 2, 4, 4] @ "conv1"
  %3 = exp(%0) : f32[N, 2, 4, 4] @ "later"
  %4 = add(%2, %3) : f32[N, 2, 4, 4] @ "sum1"
  %5 = conv(%4, %1) : f32[N, 2, 4, 4] @ "conv2"
  %6 = tanh(%4) : f32[N, 2, 4, 4] @ "later"
  %7 = add(%6, %5) : f32[N, 2, 4, 4] @ "sum2"
  return "y" = %7
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = exp(%0) : f32[N, 2, 4, 4] @ "later"
  %3 = conv(%0, %1, %2) {epilogue = ["add"]} : f32[N, 2, 4, 4] @ "conv1"
  %4 = tanh(%3) : f32[N, 2, 4, 4] @ "later"
  %5 = conv(%3, %1, %4) {epilogue = ["add"]} : f32[N, 2, 4, 4] @ "conv2"
  return "y" = %5
)");
}

// One of two branches takes the other as its residual.
TEST(FuseEpilogue, SumOfTwoConvs) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "down.weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %3 = conv(%0, %1) : f32[N, 2, 4, 4] @ "conv"
  %4 = conv(%0, %2) : f32[N, 2, 4, 4] @ "down"
  %5 = add(%3, %4) : f32[N, 2, 4, 4] @ "sum"
  %6 = relu(%5) : f32[N, 2, 4, 4]
  return "y" = %6
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "down.weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %3 = conv(%0, %2) : f32[N, 2, 4, 4] @ "down"
  %4 = conv(%0, %1, %3) {epilogue = ["add", "relu"]} : f32[N, 2, 4, 4] @ "conv"
  return "y" = %4
)");
}

TEST(FuseEpilogue, GateAndSigmoid) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = input() {name = "gate", type = "f32[N, 2, 1, 1]"} : f32[N, 2, 1, 1]
  %2 = input() {name = "z", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %3 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %4 = conv(%0, %3) : f32[N, 2, 4, 4] @ "conv"
  %5 = mul(%1, %4) : f32[N, 2, 4, 4]
  %6 = sigmoid(%5) : f32[N, 2, 4, 4]
  %7 = mul(%6, %2) : f32[N, 2, 4, 4]
  return "y" = %7
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = input() {name = "gate", type = "f32[N, 2, 1, 1]"} : f32[N, 2, 1, 1]
  %2 = input() {name = "z", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %3 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %4 = conv(%0, %3, %1, %2) {epilogue = ["mul", "sigmoid", "mul"]} : f32[N, 2, 4, 4] @ "conv"
  return "y" = %4
)");
  EXPECT_EQ(to_lines(remarks), "applied fuse-epilogue @ conv: conv+mul+sigmoid+mul\n");
}

TEST(FuseEpilogue, OriginsNameWhatItStandsFor) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = conv(%0, %1) : f32[N, 2, 4, 4] @ "conv"
  %3 = add(%2, %0) : f32[N, 2, 4, 4] @ "block"
  %4 = relu(%3) : f32[N, 2, 4, 4] @ "act"
  return "y" = %4
)");
  PassContext context;
  ASSERT_TRUE(fuse_epilogue(graph, context));
  const Provenance& provenance = graph.outputs()[0].value.node->provenance();
  EXPECT_EQ(provenance.scope, "conv");
  EXPECT_EQ(provenance.origins, (std::vector<std::string>{"conv", "block", "act"}));
}

// Refusals.
constexpr std::string_view kConv = R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "b", type = "f32[2, 1, 1]"} : f32[2, 1, 1]
  %3 = conv(%0, %1) : f32[N, 2, 4, 4] @ "conv"
)";

std::string refusal(std::string_view rest, const Target* target = nullptr) {
  PassContext context;
  context.target = target;
  return to_lines(expect_refusal(kPass, std::string(kConv) + std::string(rest.substr(1)), context));
}

TEST(FuseEpilogue, RefusesTwoReaders) {
  EXPECT_EQ(refusal(R"(
  %4 = relu(%3) : f32[N, 2, 4, 4]
  %5 = concat(%3, %4) {axis = 1} : f32[N, 4, 4, 4]
  return "y" = %5
)"),
            "missed fuse-epilogue @ conv: conv+relu: its result has 2 readers\n");
  // Refused before anything is built for the bias.
  EXPECT_EQ(refusal(R"(
  %4 = add(%3, %2) : f32[N, 2, 4, 4]
  %5 = concat(%3, %4) {axis = 1} : f32[N, 4, 4, 4]
  return "y" = %5
)"),
            "missed fuse-epilogue @ conv: conv+bias: its result has 2 readers\n");
}

TEST(FuseEpilogue, RefusesAnOutput) {
  EXPECT_EQ(refusal(R"(
  %4 = sigmoid(%3) : f32[N, 2, 4, 4]
  return "y" = %4, "raw" = %3
)"),
            "missed fuse-epilogue @ conv: conv+sigmoid: its result has 2 readers\n");
}

TEST(FuseEpilogue, RefusesWhatTheTargetDoesNotTake) {
  FakeTarget target;
  target.takes_entry = [](const Node& node, std::string_view entry, const Type* extra) {
    EXPECT_TRUE(node.is("conv"));
    EXPECT_EQ(extra != nullptr, entry == "bias" || entry == "add") << entry;
    if (entry == "bias") {
      EXPECT_EQ(extra->shape, Shape{2});
    }
    return false;
  };
  const std::string why = "the fake target does not take it there\n";
  EXPECT_EQ(refusal(R"(
  %4 = relu(%3) : f32[N, 2, 4, 4]
  return "y" = %4
)",
                    &target),
            "missed fuse-epilogue @ conv: conv+relu: " + why);
  EXPECT_EQ(refusal(R"(
  %4 = add(%3, %0) : f32[N, 2, 4, 4]
  return "y" = %4
)",
                    &target),
            "missed fuse-epilogue @ conv: conv+add: " + why);
  EXPECT_EQ(refusal(R"(
  %4 = add(%3, %2) : f32[N, 2, 4, 4]
  return "y" = %4
)",
                    &target),
            "missed fuse-epilogue @ conv: conv+bias: " + why);
}

TEST(FuseEpilogue, StopsWhereTheTargetStops) {
  FakeTarget target;
  target.takes_entry = [](const Node& node, std::string_view, const Type*) {
    return node.attributes().strings("epilogue").empty();
  };
  PassContext context;
  context.target = &target;
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = conv(%0, %1) : f32[N, 2, 4, 4] @ "conv"
  %3 = add(%2, %0) : f32[N, 2, 4, 4]
  %4 = relu(%3) : f32[N, 2, 4, 4]
  return "y" = %4
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = conv(%0, %1, %0) {epilogue = ["add"]} : f32[N, 2, 4, 4] @ "conv"
  %3 = relu(%2) : f32[N, 2, 4, 4]
  return "y" = %3
)",
                                      context);
  EXPECT_EQ(to_lines(remarks),
            "missed fuse-epilogue @ conv: conv+relu: the fake target does not take it there\n"
            "applied fuse-epilogue @ conv: conv+add\n");
}

TEST(FuseEpilogue, LeavesOtherReaders) {
  // A prepared factor is no gate, a broadcasting reader makes another shape, a scalar is no bias,
  // exp is no entry, and a value cannot be its own residual.
  for (const std::string_view rest : {R"(
  %4 = mul(%3, %2) : f32[N, 2, 4, 4]
  return "y" = %4
)",
                                      R"(
  %4 = input() {name = "r", type = "f32[5, N, 2, 4, 4]"} : f32[5, N, 2, 4, 4]
  %5 = add(%3, %4) : f32[5, N, 2, 4, 4]
  return "y" = %5
)",
                                      R"(
  %4 = constant() {value = tensor<f32[1, 1, 1]; [2.0]>} : f32[1, 1, 1]
  %5 = add(%3, %4) : f32[N, 2, 4, 4]
  return "y" = %5
)",
                                      R"(
  %4 = exp(%3) : f32[N, 2, 4, 4]
  return "y" = %4
)",
                                      R"(
  %4 = add(%3, %3) : f32[N, 2, 4, 4]
  return "y" = %4
)"}) {
    EXPECT_EQ(refusal(rest), "");
  }
}

// A bias goes in front of everything else only.
TEST(FuseEpilogue, LeavesABiasBehindAnActivation) {
  EXPECT_EQ(to_lines(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "b", type = "f32[2, 1, 1]"} : f32[2, 1, 1]
  %3 = conv(%0, %1) {epilogue = ["relu"]} : f32[N, 2, 4, 4] @ "conv"
  %4 = add(%3, %2) : f32[N, 2, 4, 4]
  return "y" = %4
)")),
            "");
}

}  // namespace
}  // namespace facet
