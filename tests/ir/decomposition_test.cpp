#include <gmock/gmock.h>

#include "ir/epilogue.h"
#include "ir/op.h"
#include "ir/text.h"
#include "tests/ir/error_of.h"
#include "tests/ir/networks.h"
#include "tests/support/op_samples.h"

/// The types, wiring and legality of decompositions; the oracle's tests compare their numbers.
namespace facet::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> kinds(const Graph& graph) {
  std::vector<std::string> list;
  for (const auto& node : graph.nodes()) {
    if (!node->is("input") && !node->is("constant")) list.emplace_back(node->kind());
  }
  return list;
}

/// Decomposes the only computing node of `graph`; its output must keep its type.
void expect_same_type(Graph& graph) {
  verify(graph);
  const Type before = graph.outputs().at(0).value.type();
  Node* node = graph.outputs()[0].value.node;
  const std::string kind(node->kind());
  const std::string text = to_text(graph);
  if (!decompose(graph, node)) {
    EXPECT_EQ(to_text(graph), text);  // plain already: nothing was changed
    return;
  }
  verify(graph);
  EXPECT_EQ(graph.outputs()[0].value.type(), before) << text << to_text(graph);
  // A conv stays a conv, without its epilogue; what stays has no plainer form.
  for (Node* const plain : graph.node_list()) {
    if (plain->is(kind)) {
      EXPECT_FALSE(decompose(graph, plain)) << text;
    }
  }
}

TEST(Decomposition, SamplesKeepTheirTypes) {
  int decomposed = 0;
  for (const OpDef* op : all_ops()) {
    for (const Sample& sample : op->samples.make()) {
      SCOPED_TRACE(testing::describe(*op, sample));
      Graph graph = testing::make_case(*op, sample).graph;
      expect_same_type(graph);
      decomposed += op->decomposition.function() != nullptr ? 1 : 0;
    }
  }
  EXPECT_GE(decomposed, 20);
}

/// bf16 activations with f32 slopes and the other way round: the result's dtype is the op's.
TEST(Decomposition, MixedPrecisionKeepsItsTypes) {
  for (const OpDef* op : all_ops()) {
    if (op->decomposition.function() == nullptr) continue;
    for (Sample sample : op->samples.make()) {
      for (std::size_t low = 0; low < sample.operands.size(); ++low) {
        if (!is_float(sample.operands[low].dtype)) continue;
        Sample mixed = sample;
        mixed.operands[low].dtype = DType::bf16;
        SCOPED_TRACE(testing::describe(*op, mixed));
        Graph graph = testing::make_case(*op, mixed).graph;
        expect_same_type(graph);
      }
    }
  }
}

TEST(Decomposition, PlainOpsStay) {
  Graph graph;
  Node* relu = graph.create("relu", {input(graph, "x", "f32[2]")});
  EXPECT_FALSE(decompose(graph, relu));
  EXPECT_EQ(graph.size(), 2u);
}

TEST(Decomposition, AnEpilogueBecomesItsOpsInOrder) {
  Graph graph;
  const Value x = input(graph, "x", "f32[N, 4, 6, 6]");
  const Value w = input(graph, "w", "f32[8, 4, 1, 1]");
  const Value bias = input(graph, "bias", "f32[8]");
  const Value same = input(graph, "same", "f32[N, 8, 6, 6]");
  const Value slope = input(graph, "slope", "f32[8]");
  Node* conv = graph.create("conv", {x, w, bias, same, slope},
                            {{"epilogue", Strings{"bias", "sigmoid", "mul", "prelu"}}},
                            {"block.conv", "net.cpp:4", {}});
  const std::vector<EpilogueEntry> entries = epilogue_of(*conv);
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_EQ(entries[0].operand, 2);
  EXPECT_EQ(entries[1].operand, -1);
  EXPECT_EQ(entries[2].operand, 3);
  EXPECT_EQ(entries[3].operand, 4);
  graph.outputs().push_back({"y", conv->result()});
  graph.taps().push_back({"block.conv", conv->result()});
  ASSERT_TRUE(decompose(graph, conv));
  verify(graph);
  EXPECT_THAT(kinds(graph), ElementsAre("conv", "reshape", "add", "sigmoid", "mul", "prelu"));
  EXPECT_EQ(graph.taps()[0].value, graph.outputs()[0].value);
  for (const auto& node : graph.nodes()) {
    if (node->is("input")) continue;
    EXPECT_EQ(node->provenance().scope, "block.conv");
    EXPECT_EQ(node->provenance().location, "net.cpp:4");
  }
}

/// A slope of a linear runs along the last axis, where the prelu op does not look.
TEST(Decomposition, ALinearsSlopeRunsAlongTheLastAxis) {
  Graph graph;
  Node* linear = graph.create("linear",
                              {input(graph, "x", "f32[2, 5, 20]"), input(graph, "w", "f32[12, 20]"),
                               input(graph, "s", "f32[12]")},
                              {{"epilogue", Strings{"prelu"}}});
  graph.outputs().push_back({"y", linear->result()});
  ASSERT_TRUE(decompose(graph, linear));
  verify(graph);
  EXPECT_THAT(kinds(graph), ElementsAre("linear", "relu", "minimum", "mul", "add"));
}

TEST(Decomposition, SquareAndRsqrt) {
  Graph graph;
  const Value x = input(graph, "x", "f32[2]");
  Node* square = graph.create("square", {x});
  Node* rsqrt = graph.create("rsqrt", {square->result()});
  graph.outputs().push_back({"y", rsqrt->result()});
  ASSERT_TRUE(decompose(graph, rsqrt));
  ASSERT_TRUE(decompose(graph, square));
  verify(graph);
  EXPECT_THAT(kinds(graph), ElementsAre("mul", "sqrt", "reciprocal"));
  EXPECT_EQ(graph.outputs()[0].value.node->kind(), "reciprocal");
}

std::vector<std::string> decomposed_program(const Strings& program) {
  Graph graph;
  const Value x = input(graph, "x", "f32[2, 3]");
  const Value lo = input(graph, "lo", "f32[3]");
  Node* node = graph.create("elementwise", {x, lo}, {{"program", program}});
  const Type before = node->result().type();
  graph.outputs().push_back({"y", node->result()});
  EXPECT_TRUE(decompose(graph, node));
  verify(graph);
  EXPECT_EQ(graph.outputs()[0].value.type(), before);
  return kinds(graph);
}

TEST(Decomposition, ProgramsBecomeOneOpALine) {
  EXPECT_THAT(decomposed_program({"add 0 1", "sigmoid 2", "mul 3 #2"}),
              ElementsAre("add", "sigmoid", "mul"));
  EXPECT_THAT(decomposed_program({"prelu 0 1"}), ElementsAre("minimum", "relu", "mul", "add"));
}

TEST(Decomposition, AClampTakesAnyBounds) {
  EXPECT_THAT(decomposed_program({"clamp 0 #-1 #1"}), ElementsAre("clamp"));
  EXPECT_THAT(decomposed_program({"clamp 0 1 #1"}), ElementsAre("maximum", "minimum"));
  EXPECT_THAT(decomposed_program({"clamp 0 #-1 1"}), ElementsAre("maximum", "minimum"));
  // The op refuses crossed bounds; the program means min(max(x, 1), -1).
  EXPECT_THAT(decomposed_program({"clamp 0 #1 #-1"}), ElementsAre("maximum", "minimum"));
  EXPECT_THAT(decomposed_program({"clamp #3 #-1 #1", "add 0 2"}), ElementsAre("clamp", "add"));
}

}  // namespace
}  // namespace facet::test
