#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;
using testing::to_lines;

constexpr std::string_view kPass = "fuse-elementwise";

TEST(FuseElementwise, AChainBecomesOneProgram) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "s", type = "f32[2, 1, 1]"} : f32[2, 1, 1]
  %2 = input() {name = "r", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %3 = mul(%0, %1) : f32[N, 2, 4, 4] @ "scale"
  %4 = add(%3, %2) : f32[N, 2, 4, 4] @ "sum"
  %5 = relu(%4) : f32[N, 2, 4, 4] @ "act"
  return "y" = %5
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "s", type = "f32[2, 1, 1]"} : f32[2, 1, 1]
  %2 = input() {name = "r", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %3 = elementwise(%0, %1, %2) {program = ["mul 0 1", "add 3 2", "relu 4"]} : f32[N, 2, 4, 4] @ "act"
  return "y" = %3
)");
  EXPECT_EQ(to_lines(remarks), "applied fuse-elementwise @ act: elementwise mul add relu\n");
}

TEST(FuseElementwise, ATreeOfTwoBranches) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "z", type = "f32[N, 4]"} : f32[N, 4]
  %2 = tanh(%0) : f32[N, 4]
  %3 = sigmoid(%1) : f32[N, 4]
  %4 = mul(%2, %3) : f32[N, 4]
  %5 = sub(%4, %0) : f32[N, 4]
  return "y" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "z", type = "f32[N, 4]"} : f32[N, 4]
  %2 = elementwise(%0, %1) {program = ["tanh 0", "sigmoid 1", "mul 2 3", "sub 4 0"]} : f32[N, 4]
  return "y" = %2
)");
}

TEST(FuseElementwise, AValueReadTwiceIsOneOperand) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = mul(%0, %0) : f32[N, 4]
  %2 = add(%1, %0) : f32[N, 4]
  return "y" = %2
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = elementwise(%0) {program = ["mul 0 0", "add 1 0"]} : f32[N, 4]
  return "y" = %1
)");
}

// The sum is read by the sigmoid and the product: both are in the chain, so it is computed once.
TEST(FuseElementwise, AProducerThatTheChainReadsTwice) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "z", type = "f32[N, 4]"} : f32[N, 4]
  %2 = add(%0, %1) : f32[N, 4]
  %3 = sigmoid(%2) : f32[N, 4]
  %4 = mul(%2, %3) : f32[N, 4]
  %5 = add(%4, %4) : f32[N, 4]
  return "y" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "z", type = "f32[N, 4]"} : f32[N, 4]
  %2 = elementwise(%0, %1) {program = ["add 0 1", "sigmoid 2", "mul 2 3", "add 4 4"]} : f32[N, 4]
  return "y" = %2
)");
}

TEST(FuseElementwise, ScalarConstantsBecomeLiterals) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = constant() {value = tensor<f32[]; [0.5]>} : f32[]
  %2 = constant() {value = tensor<f32[1, 1]; [-3.0]>} : f32[1, 1]
  %3 = constant() {value = tensor<f32[4]; [1.0, 2.0, 3.0, 4.0]>} : f32[4]
  %4 = mul(%0, %1) : f32[N, 4]
  %5 = maximum(%4, %2) : f32[N, 4]
  %6 = sub(%3, %5) : f32[N, 4]
  return "y" = %6
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = constant() {value = tensor<f32[]; [0.5]>} : f32[]
  %2 = constant() {value = tensor<f32[1, 1]; [-3.0]>} : f32[1, 1]
  %3 = constant() {value = tensor<f32[4]; [1.0, 2.0, 3.0, 4.0]>} : f32[4]
  %4 = elementwise(%3, %0) {program = ["mul 1 #0.5", "maximum 2 #-3", "sub 0 3"]} : f32[N, 4]
  return "y" = %4
)");
}

// A literal has no axes, so one that adds an axis to the result stays an operand.
TEST(FuseElementwise, AConstantThatRaisesTheRankStays) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[4]"} : f32[4]
  %1 = constant() {value = tensor<f32[1, 1]; [2.0]>} : f32[1, 1]
  %2 = constant() {value = tensor<f32[1, 1]; [3.0]>} : f32[1, 1]
  %3 = mul(%0, %1) : f32[1, 4]
  %4 = add(%3, %2) : f32[1, 4]
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "x", type = "f32[4]"} : f32[4]
  %1 = constant() {value = tensor<f32[1, 1]; [2.0]>} : f32[1, 1]
  %2 = constant() {value = tensor<f32[1, 1]; [3.0]>} : f32[1, 1]
  %3 = elementwise(%0, %1) {program = ["mul 0 1", "add 2 #3"]} : f32[1, 4]
  return "y" = %3
)");
}

TEST(FuseElementwise, PreluAndClampInside) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = input() {name = "r", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %2 = parameter() {key = "slope", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "one.slope", type = "f32[1]"} : f32[1]
  %4 = add(%0, %1) : f32[N, 2, 4, 4]
  %5 = prelu(%4, %2) : f32[N, 2, 4, 4]
  %6 = clamp(%5) {max = 6.0, min = -0.125} : f32[N, 2, 4, 4]
  %7 = prelu(%6, %3) : f32[N, 2, 4, 4]
  return "y" = %7
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = input() {name = "r", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %2 = parameter() {key = "slope", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "one.slope", type = "f32[1]"} : f32[1]
  %4 = reshape(%2) {shape = [-1, 1, 1]} : f32[2, 1, 1]
  %5 = elementwise(%0, %1, %4, %3) {program = ["add 0 1", "prelu 4 2", "clamp 5 #-0.125 #6", "prelu 6 3"]} : f32[N, 2, 4, 4]
  return "y" = %5
)");
}

// Over two axes the slopes lie along the last one already.
TEST(FuseElementwise, PreluOverTwoAxes) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = parameter() {key = "slope", type = "f32[4]"} : f32[4]
  %2 = neg(%0) : f32[N, 4]
  %3 = prelu(%2, %1) : f32[N, 4]
  return "y" = %3
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = parameter() {key = "slope", type = "f32[4]"} : f32[4]
  %2 = elementwise(%0, %1) {program = ["neg 0", "prelu 2 1"]} : f32[N, 4]
  return "y" = %2
)");
}

TEST(FuseElementwise, ProgramsNest) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "z", type = "f32[N, 4]"} : f32[N, 4]
  %2 = elementwise(%0, %1) {program = ["sub 1 0", "mul 2 #2.5", "add 3 2"]} : f32[N, 4]
  %3 = sqrt(%1) : f32[N, 4]
  %4 = elementwise(%3, %2, %0) {program = ["add 0 1", "clamp 3 #-1 #1", "div 4 2"]} : f32[N, 4]
  %5 = abs(%4) : f32[N, 4]
  return "y" = %5
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "z", type = "f32[N, 4]"} : f32[N, 4]
  %2 = elementwise(%1, %0) {program = ["sqrt 0", "sub 0 1", "mul 3 #2.5", "add 4 3", "add 2 5", "clamp 6 #-1 #1", "div 7 1", "abs 8"]} : f32[N, 4]
  return "y" = %2
)");
}

// The program of an f32 chain with a dtype of its own keeps it.
TEST(FuseElementwise, KeepsTheDtypeOfTheResult) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = elementwise(%0) {dtype = "bf16", program = ["square 0"]} : bf16[N, 4]
  %2 = relu(%1) : bf16[N, 4]
  return "y" = %2
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = elementwise(%0) {dtype = "bf16", program = ["square 0", "relu 1"]} : bf16[N, 4]
  return "y" = %1
)");
}

// Where one producer is refused, the others still move.
TEST(FuseElementwise, TakesWhatItCan) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "z", type = "f32[1, 4]"} : f32[1, 4]
  %2 = exp(%0) : f32[N, 4] @ "wide"
  %3 = exp(%1) : f32[1, 4] @ "narrow"
  %4 = mul(%2, %3) : f32[N, 4] @ "product"
  return "y" = %4
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "z", type = "f32[1, 4]"} : f32[1, 4]
  %2 = exp(%1) : f32[1, 4] @ "narrow"
  %3 = elementwise(%0, %2) {program = ["exp 0", "mul 2 1"]} : f32[N, 4] @ "product"
  return "y" = %3
)");
  EXPECT_EQ(to_lines(remarks),
            "missed fuse-elementwise @ narrow: exp+mul: it would be computed again for every "
            "broadcast element\n"
            "applied fuse-elementwise @ product: elementwise exp mul\n");
}

TEST(FuseElementwise, OriginsNameWhatItStandsFor) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = neg(%0) : f32[N, 4] @ "b"
  %2 = exp(%1) : f32[N, 4] @ "a"
  %3 = relu(%2) : f32[N, 4] @ "a"
  return "y" = %3
)");
  PassContext context;
  ASSERT_TRUE(fuse_elementwise(graph, context));
  const Provenance& provenance = graph.outputs()[0].value.node->provenance();
  EXPECT_EQ(provenance.scope, "a");
  EXPECT_EQ(provenance.origins, (std::vector<std::string>{"a", "b"}));
}

// Refusals.
TEST(FuseElementwise, RefusesAProducerWithOtherReaders) {
  const std::string_view two_readers = R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = exp(%0) : f32[N, 4] @ "e"
  %2 = relu(%1) : f32[N, 4]
  %3 = softmax(%1) : f32[N, 4]
  return "y" = %2, "z" = %3
)";
  const std::string_view an_output = R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = exp(%0) : f32[N, 4] @ "e"
  %2 = relu(%1) : f32[N, 4]
  return "y" = %2, "z" = %1
)";
  for (const std::string_view body : {two_readers, an_output}) {
    EXPECT_EQ(to_lines(expect_refusal(kPass, body)),
              "missed fuse-elementwise @ e: exp+relu: its result has 2 readers\n");
  }
}

TEST(FuseElementwise, RefusesABroadcastProducer) {
  EXPECT_EQ(to_lines(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = input() {name = "s", type = "f32[N, 2, 1, 1]"} : f32[N, 2, 1, 1]
  %2 = sigmoid(%1) : f32[N, 2, 1, 1] @ "gate"
  %3 = mul(%0, %2) : f32[N, 2, 4, 4]
  return "y" = %3
)")),
            "missed fuse-elementwise @ gate: sigmoid+mul: it would be computed again for every "
            "broadcast element\n");
}

TEST(FuseElementwise, RefusesAnotherDtype) {
  EXPECT_EQ(to_lines(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "h", type = "bf16[N, 4]"} : bf16[N, 4]
  %2 = exp(%0) : f32[N, 4] @ "e"
  %3 = mul(%2, %1) : bf16[N, 4]
  return "y" = %3
)")),
            "missed fuse-elementwise @ e: exp+mul: it computes in f32 where the chain is bf16\n");
}

TEST(FuseElementwise, LeavesPreparedValuesAndIntegers) {
  EXPECT_EQ(to_lines(expect_refusal(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = parameter() {key = "p", type = "f32[4]"} : f32[4]
  %2 = exp(%1) : f32[4]
  %3 = neg(%2) : f32[4]
  %4 = mul(%0, %3) : f32[N, 4]
  return "y" = %4
)")),
            "");
  EXPECT_EQ(to_lines(expect_refusal(kPass, R"(
  %0 = input() {name = "i", type = "i64[N]"} : i64[N]
  %1 = add(%0, %0) : i64[N]
  %2 = mul(%1, %0) : i64[N]
  return "y" = %2
)")),
            "");
}

}  // namespace
}  // namespace facet
