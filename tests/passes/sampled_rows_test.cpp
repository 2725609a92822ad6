#include "passes/sampled_rows.h"

#include <gtest/gtest.h>

#include "ir/text.h"
#include "passes/append_optimizer.h"
#include "tests/ir/error_of.h"
#include "tests/passes/pass_case.h"

namespace facet::testing {
namespace {

constexpr std::string_view kRows = R"(
  %0 = input() {name = "rows", type = "i64[2]"} : i64[2]
  %1 = parameter() {key = "head.weight", type = "f32[7, 3]"} : f32[7, 3]
  %2 = gather_rows(%1, %0) : f32[2, 3]
  %3 = relu(%2) : f32[2, 3]
  return "y" = %3
)";

TEST(SampledRows, FindsTheOnlyReader) {
  Graph graph = parse_body(kRows);
  EXPECT_EQ(sampled_rows(graph, "head.weight"), graph.node_list().at(2));
}

TEST(SampledRows, OwedRowsReadTheVelocityToo) {
  Graph graph = parse_body(kRows);
  owe_missed_steps(graph, "head.weight");
  verify(graph);
  const Graph expected = parse_body(R"(
  %0 = parameter() {key = "optimizer.head.weight.velocity", type = "f32[7, 3]"} : f32[7, 3]
  %1 = input() {name = "rows", type = "i64[2]"} : i64[2]
  %2 = parameter() {key = "head.weight", type = "f32[7, 3]"} : f32[7, 3]
  %3 = input() {name = "owed", type = "f32[8]"} : f32[8]
  %4 = owed_rows(%2, %0, %1, %3) : f32[2, 3]
  %5 = relu(%4) : f32[2, 3]
  return "y" = %5
)");
  EXPECT_EQ(fingerprint(graph), fingerprint(expected)) << to_text(graph);
  EXPECT_EQ(sampled_rows(graph, "head.weight")->kind(), "owed_rows");
  EXPECT_FALSE(graph.find_parameter("optimizer.head.weight.velocity")->trainable);
  EXPECT_EQ(test::error_of([&] { owe_missed_steps(graph, "head.weight"); }),
            "graph 'g' has state 'optimizer.head.weight.velocity' already");
}

TEST(SampledRows, OtherReadersAreRefused) {
  Graph graph = parse_body(R"(
  %0 = input() {name = "rows", type = "i64[2]"} : i64[2]
  %1 = parameter() {key = "head.weight", type = "f32[7, 3]"} : f32[7, 3]
  %2 = gather_rows(%1, %0) : f32[2, 3]
  %3 = relu(%1) : f32[7, 3]
  return "y" = %2, "z" = %3
)");
  EXPECT_EQ(test::error_of([&] { sampled_rows(graph, "head.weight"); }),
            "parameter 'head.weight' of graph 'g' has 2 readers; a table whose rows are sampled is "
            "read by one gather_rows alone");
  EXPECT_EQ(test::error_of([&] { sampled_rows(graph, "tail"); }),
            "graph 'g' has no parameter 'tail'");
}

/// Accumulated gradients and updates have the shape of the rows; the state that of the table.
TEST(SampledRows, OptimizersStepTheRows) {
  Graph graph = parse_body(kRows);
  owe_missed_steps(graph, "head.weight");
  Node* rows = sampled_rows(graph, "head.weight");
  OptimizerOptions options;
  options.sampled = {"head.weight"};
  options.accumulate = 2;
  append_optimizer(graph, {{"head.weight", rows->result()}}, options);
  verify(graph);
  EXPECT_EQ(graph.find_parameter("accumulated.head.weight")->type, (Type{DType::f32, {2, 3}, {}}));
  int updates = 0;
  for (const auto& node : graph.nodes()) {
    if (!node->is("sgd_update")) continue;
    ++updates;
    ASSERT_EQ(node->operand_count(), 6);
    EXPECT_EQ(node->operand(4), rows->operand(2));
    EXPECT_EQ(node->operand(5), rows->operand(3));
    EXPECT_EQ(node->result_types()[0].shape, (Shape{7, 3}));
  }
  EXPECT_EQ(updates, 1);
}

}  // namespace
}  // namespace facet::testing
