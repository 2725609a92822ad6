#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_refusal;
using testing::expect_rewrite;
using testing::to_lines;

constexpr std::string_view kCse = "eliminate-common-subexpressions";
constexpr std::string_view kDce = "eliminate-dead-code";

TEST(EliminateCommonSubexpressions, EqualNodesBecomeOneAndSoDoTheirReaders) {
  expect_rewrite(kCse, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = parameter() {key = "weight", type = "f32[4, 4]"} : f32[4, 4]
  %2 = parameter() {key = "weight", type = "f32[4, 4]"} : f32[4, 4]
  %3 = linear(%0, %1) : f32[N, 4] @ "first"
  %4 = linear(%0, %2) : f32[N, 4] @ "second"
  %5 = sigmoid(%3) : f32[N, 4]
  %6 = sigmoid(%4) : f32[N, 4]
  %7 = mul(%5, %6) : f32[N, 4]
  return "y" = %7, "z" = %6
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = parameter() {key = "weight", type = "f32[4, 4]"} : f32[4, 4]
  %2 = linear(%0, %1) : f32[N, 4] @ "first"
  %3 = sigmoid(%2) : f32[N, 4]
  %4 = mul(%3, %3) : f32[N, 4]
  return "y" = %4, "z" = %3
)");
}

TEST(EliminateCommonSubexpressions, ConstantsByContentLargeOnesByHash) {
  Graph graph("g");
  const auto constant = [&](std::int64_t size, float last) {
    std::vector<float> values(static_cast<std::size_t>(size), 1.0F);
    values.back() = last;
    return graph.create("constant", {}, {{"value", HostTensor::from_floats({size}, values)}})->result();
  };
  const std::vector<Value> values = {constant(100, 2), constant(100, 2), constant(100, 3),
                                     constant(3, 2),   constant(3, 2),   constant(3, 3)};
  for (std::size_t i = 0; i < values.size(); ++i) {
    graph.outputs().push_back({std::to_string(i), values[i]});
  }
  PassContext context;
  EXPECT_TRUE(eliminate_common_subexpressions(graph, context));
  verify(graph);
  EXPECT_EQ(graph.size(), 4u);
  EXPECT_EQ(graph.outputs()[0].value, graph.outputs()[1].value);
  EXPECT_EQ(graph.outputs()[3].value, graph.outputs()[4].value);
}

TEST(EliminateCommonSubexpressions, RefusesInputsAndWhatDiffersInOneThing) {
  EXPECT_EQ(to_lines(expect_refusal(kCse, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "z", type = "f32[N, 4]"} : f32[N, 4]
  %2 = parameter() {key = "a.weight", type = "f32[4, 4]"} : f32[4, 4]
  %3 = parameter() {key = "b.weight", type = "f32[4, 4]"} : f32[4, 4]
  %4 = linear(%0, %2) : f32[N, 4] @ "same"
  %5 = linear(%0, %3) : f32[N, 4] @ "same"
  %6 = linear(%1, %2) : f32[N, 4] @ "same"
  %7 = clamp(%4) {max = 1.0, min = 0.0} : f32[N, 4]
  %8 = clamp(%4) {max = 1.5, min = 0.0} : f32[N, 4]
  %9 = sub(%5, %6) : f32[N, 4]
  %10 = sub(%6, %5) : f32[N, 4]
  %11 = constant() {value = tensor<f32[]; [0.0]>} : f32[]
  %12 = constant() {value = tensor<f32[]; [-0.0]>} : f32[]
  %13 = constant() {value = tensor<f32[1]; [0.0]>} : f32[1]
  return "a" = %7, "b" = %8, "c" = %9, "d" = %10, "e" = %11, "f" = %12, "g" = %13
)")),
            "");
}

// Two inputs declared alike are two values the caller gives.
TEST(EliminateCommonSubexpressions, RefusesInputsThatOnlyDifferInName) {
  expect_refusal(kCse, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "z", type = "f32[N, 4]"} : f32[N, 4]
  %2 = sub(%0, %1) : f32[N, 4]
  return "y" = %2
)");
}

TEST(EliminateDeadCode, ErasesWhatNoOutputNeeds) {
  expect_rewrite(kDce, R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = parameter() {key = "p", type = "f32[4]"} : f32[4]
  %2 = exp(%0) : f32[N, 4]
  %3 = mul(%2, %1) : f32[N, 4]
  %4 = relu(%0) : f32[N, 4]
  return "y" = %4
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = relu(%0) : f32[N, 4]
  return "y" = %1
)");
}

TEST(EliminateDeadCode, KeepsInputsAndEveryOutput) {
  expect_refusal(kDce, R"(
  %0 = input() {name = "unused", type = "f32[N, 4]"} : f32[N, 4]
  %1 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %2 = exp(%1) : f32[N, 4]
  %3 = relu(%2) : f32[N, 4]
  return "y" = %3, "between" = %2, "same" = %1
)");
}

TEST(EliminateDeadCode, TapsKeepNothingAlive) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = exp(%0) : f32[N, 4] @ "e"
  return "y" = %0
)");
  graph.taps().push_back({"e", graph.node_list()[1]->result()});
  PassContext context;
  EXPECT_TRUE(eliminate_dead_code(graph, context));
  EXPECT_EQ(graph.size(), 1u);
  EXPECT_TRUE(graph.taps().empty());
}

}  // namespace
}  // namespace facet
