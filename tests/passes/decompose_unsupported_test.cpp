#include <algorithm>
#include <set>

#include "ir/error.h"
#include "ir/op.h"
#include "tests/ir/error_of.h"
#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;
using testing::FakeTarget;

constexpr std::string_view kPass = "decompose-unsupported";

/// A target that runs these ops, convs and linears without an epilogue, and nothing else.
FakeTarget little_target(std::set<std::string, std::less<>> ops) {
  FakeTarget target;
  target.supported = [ops = std::move(ops)](const Node& node) {
    EXPECT_FALSE(node.is("input") || node.is("parameter") || node.is("constant"))
        << "leaves are not asked about";
    const auto& a = node.attributes();
    return ops.contains(node.kind()) && !(a.has("epilogue") && !a.strings("epilogue").empty());
  };
  return target;
}

PassContext context_of(const Target& target) {
  PassContext context;
  context.target = &target;
  return context;
}

TEST(DecomposeUnsupported, PreluWithoutPrelu) {
  const FakeTarget target = little_target({"relu", "mul", "minimum", "add", "reshape"});
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 3, 2, 2]"} : f32[N, 3, 2, 2]
  %1 = parameter() {key = "slope", type = "f32[3]"} : f32[3]
  %2 = prelu(%0, %1) : f32[N, 3, 2, 2] @ "act"
  return "y" = %2
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 3, 2, 2]"} : f32[N, 3, 2, 2]
  %1 = parameter() {key = "slope", type = "f32[3]"} : f32[3]
  %2 = reshape(%1) {shape = [1, -1, 1, 1]} : f32[1, 3, 1, 1] @ "act"
  %3 = constant() {value = tensor<f32[]; [0.0]>} : f32[] @ "act"
  %4 = minimum(%0, %3) : f32[N, 3, 2, 2] @ "act"
  %5 = relu(%0) : f32[N, 3, 2, 2] @ "act"
  %6 = mul(%4, %2) : f32[N, 3, 2, 2] @ "act"
  %7 = add(%5, %6) : f32[N, 3, 2, 2] @ "act"
  return "y" = %7
)",
                 context_of(target));
}

// The epilogue becomes ops, and the prelu among them becomes plainer ones again.
TEST(DecomposeUnsupported, UntilEverythingRuns) {
  const FakeTarget target = little_target({"conv", "relu", "mul", "minimum", "add", "reshape"});
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 2, 2, 2]"} : f32[N, 2, 2, 2]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "bias", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "slope", type = "f32[1]"} : f32[1]
  %4 = conv(%0, %1, %2, %0, %3) {epilogue = ["bias", "add", "prelu"]} : f32[N, 2, 2, 2] @ "conv"
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 2, 2, 2]"} : f32[N, 2, 2, 2]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "bias", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "slope", type = "f32[1]"} : f32[1]
  %4 = conv(%0, %1) : f32[N, 2, 2, 2] @ "conv"
  %5 = reshape(%2) {shape = [1, -1, 1, 1]} : f32[1, 2, 1, 1] @ "conv"
  %6 = add(%4, %5) : f32[N, 2, 2, 2] @ "conv"
  %7 = add(%6, %0) : f32[N, 2, 2, 2] @ "conv"
  %8 = reshape(%3) {shape = [1, -1, 1, 1]} : f32[1, 1, 1, 1] @ "conv"
  %9 = constant() {value = tensor<f32[]; [0.0]>} : f32[] @ "conv"
  %10 = minimum(%7, %9) : f32[N, 2, 2, 2] @ "conv"
  %11 = relu(%7) : f32[N, 2, 2, 2] @ "conv"
  %12 = mul(%10, %8) : f32[N, 2, 2, 2] @ "conv"
  %13 = add(%11, %12) : f32[N, 2, 2, 2] @ "conv"
  return "y" = %13
)",
                 context_of(target));
}

TEST(DecomposeUnsupported, ProgramsBecomeOps) {
  const FakeTarget target = little_target({"sigmoid", "mul", "clamp"});
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = elementwise(%0) {program = ["sigmoid 0", "mul 1 #2.5", "clamp 2 #0 #1"]} : f32[N, 4] @ "e"
  return "y" = %1
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = sigmoid(%0) : f32[N, 4] @ "e"
  %2 = constant() {value = tensor<f32[]; [2.5]>} : f32[] @ "e"
  %3 = mul(%1, %2) : f32[N, 4] @ "e"
  %4 = clamp(%3) {max = 1.0, min = 0.0} : f32[N, 4] @ "e"
  return "y" = %4
)",
                 context_of(target));
}

/// A target that runs everything but what reads bf16, and casts.
FakeTarget without_bf16() {
  FakeTarget target;
  target.supported = [](const Node& node) {
    const auto operands = node.operands();
    return node.is("cast") ||
           std::none_of(operands.begin(), operands.end(),
                        [](const Value& value) { return value.dtype() == DType::bf16; });
  };
  target.multiplied = [](DType dtype) { return dtype != DType::bf16; };
  return target;
}

// The epilogue stays: the sum is rounded once, behind it. Operands of f32 are read as they are.
TEST(DecomposeUnsupported, WhatReadsAnUnmultipliedDtypeIsComputedInF32) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "bf16[N, 2, 2, 2]"} : bf16[N, 2, 2, 2]
  %1 = parameter() {key = "weight", type = "bf16[2, 2, 1, 1]"} : bf16[2, 2, 1, 1]
  %2 = parameter() {key = "bias", type = "f32[2]"} : f32[2]
  %3 = conv(%0, %1, %2, %0) {epilogue = ["bias", "add", "relu"]} : bf16[N, 2, 2, 2] @ "conv"
  return "y" = %3
)",
                 R"(
  %0 = input() {name = "x", type = "bf16[N, 2, 2, 2]"} : bf16[N, 2, 2, 2]
  %1 = parameter() {key = "weight", type = "bf16[2, 2, 1, 1]"} : bf16[2, 2, 1, 1]
  %2 = parameter() {key = "bias", type = "f32[2]"} : f32[2]
  %3 = cast(%0) {dtype = "f32"} : f32[N, 2, 2, 2] @ "conv"
  %4 = cast(%1) {dtype = "f32"} : f32[2, 2, 1, 1] @ "conv"
  %5 = cast(%0) {dtype = "f32"} : f32[N, 2, 2, 2] @ "conv"
  %6 = conv(%3, %4, %2, %5) {epilogue = ["bias", "add", "relu"]} : f32[N, 2, 2, 2] @ "conv"
  %7 = cast(%6) {dtype = "bf16"} : bf16[N, 2, 2, 2] @ "conv"
  return "y" = %7
)",
                 context_of(without_bf16()));
}

// Results of f32 stay; each of the others is cast back.
TEST(DecomposeUnsupported, EveryResultKeepsItsDtype) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "bf16[4, 2, 3, 3]"} : bf16[4, 2, 3, 3]
  %1 = parameter() {key = "scale", type = "f32[2]"} : f32[2]
  %2:5 = batch_norm_train(%0, %1, %1, %1, %1) {epsilon = 1e-05, momentum = 0.1} : (bf16[4, 2, 3, 3], f32[2], f32[2], f32[2], f32[2])
  return "y" = %2.0, "mean" = %2.1
)");
  const FakeTarget target = without_bf16();
  PassContext context = context_of(target);
  EXPECT_TRUE(decompose_unsupported(graph, context));
  EXPECT_EQ(graph.outputs()[0].value.dtype(), DType::bf16);
  EXPECT_EQ(graph.outputs()[1].value.dtype(), DType::f32);
  EXPECT_TRUE(graph.outputs()[0].value.node->is("cast"));
  EXPECT_TRUE(graph.outputs()[1].value.node->is("batch_norm_train"));
}

TEST(DecomposeUnsupported, LeavesWhatRuns) {
  const FakeTarget target = little_target({"prelu", "conv"});
  const std::string_view body = R"(
  %0 = input() {name = "x", type = "f32[N, 2, 2, 2]"} : f32[N, 2, 2, 2]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = parameter() {key = "slope", type = "f32[2]"} : f32[2]
  %3 = prelu(%0, %2) : f32[N, 2, 2, 2]
  %4 = conv(%3, %1) : f32[N, 2, 2, 2]
  return "y" = %4
)";
  expect_refusal(kPass, body, context_of(target));
  expect_refusal(kPass, body);  // without a target nothing is known to be missing
}

TEST(DecomposeUnsupported, APlainOpThatDoesNotRunIsAnError) {
  const FakeTarget target = little_target({"relu"});
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = softmax(%0) {axis = 1} : f32[N, 4] @ "head"
  return "y" = %1
)");
  PassContext context = context_of(target);
  EXPECT_EQ(test::error_of([&] { decompose_unsupported(graph, context); }, ErrorKind::failure),
            "the fake target cannot run softmax : f32[N, 4] (head), and it has no plainer form");
}

}  // namespace
}  // namespace facet
