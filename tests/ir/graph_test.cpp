#include "ir/graph.h"

#include <gmock/gmock.h>

#include "ir/op.h"
#include "ir/text.h"
#include "tests/ir/error_of.h"
#include "tests/ir/networks.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::string kinds(const Graph& graph) {
  std::string text;
  for (const auto& node : graph.nodes()) {
    if (!text.empty()) text += ' ';
    text += node->kind();
  }
  return text;
}

/// x, a = relu(x), b = neg(x), c = add(a, b), output c.
struct Diamond {
  Graph graph{"diamond"};
  Value x = input(graph, "x", "f32[2, 3]");
  Value a = graph.create("relu", {x})->result();
  Value b = graph.create("neg", {x})->result();
  Value c = graph.create("add", {a, b})->result();
  Diamond() { graph.outputs().push_back({"y", c}); }
};

TEST(Graph, CreateInfersTypesAndFillsDefaults) {
  Diamond d;
  EXPECT_EQ(to_string(d.c.type()), "f32[2, 3]");
  const Value mean = d.graph.create("reduce_mean", {d.c}, {{"axes", Ints{1}}})->result();
  EXPECT_TRUE(mean.node->attributes().boolean("keepdims"));
  EXPECT_EQ(to_string(mean.type()), "f32[2, 1]");
  EXPECT_EQ(&mean.node->graph(), &d.graph);
}

TEST(Graph, CreateCanPutANodeBeforeAnother) {
  Diamond d;
  d.graph.create("abs", {d.x}, {}, {}, d.b.node);
  EXPECT_EQ(kinds(d.graph), "input relu abs neg add");
  verify(d.graph);
}

TEST(Graph, CreateNamesOpTypesScopeAndLocation) {
  Graph graph;
  const Value a = input(graph, "a", "f32[2, 3]");
  const Value b = input(graph, "b", "f32[4, 3]");
  const std::string message = error_of([&] {
    graph.create("add", {a, b}, {}, {"block.0", "net.cpp:7", {}});
  });
  EXPECT_THAT(message, HasSubstr("axis 0 is 2 and 4"));
  EXPECT_THAT(message, HasSubstr("add(f32[2, 3], f32[4, 3]) in block.0 at net.cpp:7"));
  EXPECT_EQ(graph.size(), 2u);
  EXPECT_TRUE(a.node->all_uses().empty());
}

TEST(Graph, CreateRefusesUnknownOpsCountsAndAttributes) {
  Graph graph;
  const Value x = input(graph, "x", "f32[2, 3]");
  EXPECT_THAT(error_of([&] { graph.create("rellu", {x}); }),
              AllOf(HasSubstr("'rellu'"), HasSubstr("'relu'")));
  EXPECT_EQ(error_of([&] { graph.create("qqqqqq", {x}); }), "there is no op 'qqqqqq'");
  EXPECT_THAT(error_of([&] { graph.create("add", {x}); }),
              AllOf(HasSubstr("takes 2 operands, not 1"), HasSubstr("add(f32[2, 3])")));
  EXPECT_THAT(error_of([&] { graph.create("conv", {x}); }), HasSubstr("2 or more operands, not 1"));
  EXPECT_THAT(error_of([&] {
                graph.create("relu", {x}, {{"slope", 1.0}});
              }),
              HasSubstr("op 'relu' has no attribute 'slope'"));
  EXPECT_THAT(error_of([&] {
                graph.create("softmax", {x}, {{"axis", 1.0}});
              }),
              HasSubstr("attribute 'axis' of op 'softmax' cannot be 1.0"));
  EXPECT_THAT(error_of([&] { graph.create("transpose", {x}); }),
              HasSubstr("attribute 'permutation' of op 'transpose' is not set"));
}

TEST(Graph, CreateRefusesOperandsThatAreNotThere) {
  Graph graph;
  Graph other("other");
  const Value x = input(graph, "x", "f32[2]");
  const Value foreign = input(other, "x", "f32[2]");
  EXPECT_THAT(error_of([&] { graph.create("relu", {Value{}}); }, ErrorKind::failure),
              HasSubstr("does not exist"));
  EXPECT_THAT(error_of(
                  [&] {
                    graph.create("relu", {Value{x.node, 1}});
                  },
                  ErrorKind::failure),
              HasSubstr("does not exist"));
  EXPECT_THAT(error_of([&] {
                graph.create("add", {x, foreign});
              }),
              HasSubstr("of another graph, 'other'"));
}

TEST(Graph, UsesFollowSetOperand) {
  Diamond d;
  EXPECT_THAT(d.x.node->uses(), UnorderedElementsAre(Use{d.a.node, 0}, Use{d.b.node, 0}));
  d.c.node->set_operand(1, d.a);
  EXPECT_THAT(d.a.node->uses(), UnorderedElementsAre(Use{d.c.node, 0}, Use{d.c.node, 1}));
  EXPECT_TRUE(d.b.node->uses().empty());
  d.c.node->set_operand(1, d.a);  // once more changes nothing
  EXPECT_EQ(d.a.node->uses().size(), 2u);
  verify(d.graph);
}

TEST(Graph, ReplaceUsesReachesNodesOutputsAndTaps) {
  Diamond d;
  d.graph.taps().push_back({"inner", d.a});
  d.graph.outputs().push_back({"a", d.a});
  const Value twice = d.graph.create("add", {d.a, d.a})->result();
  const Value swap = d.graph.create("abs", {d.x}, {}, {}, d.a.node)->result();
  d.graph.replace_uses(d.a, swap);
  EXPECT_THAT(swap.node->uses(),
              UnorderedElementsAre(Use{d.c.node, 0}, Use{twice.node, 0}, Use{twice.node, 1}));
  EXPECT_TRUE(d.a.node->all_uses().empty());
  EXPECT_EQ(d.graph.outputs()[1].value, swap);
  EXPECT_EQ(d.graph.taps()[0].value, swap);
  EXPECT_FALSE(d.graph.is_output(d.a));
  EXPECT_EQ(d.graph.use_count(swap), 4);
  verify(d.graph);
}

TEST(Graph, EraseGivesUpItsReadsAndTaps) {
  Diamond d;
  const Value dead = d.graph.create("abs", {d.a})->result();
  d.graph.taps().push_back({"dead", dead});
  d.graph.erase(dead.node);
  EXPECT_EQ(kinds(d.graph), "input relu neg add");
  EXPECT_THAT(d.a.node->uses(), ElementsAre(Use{d.c.node, 0}));
  EXPECT_TRUE(d.graph.taps().empty());
  verify(d.graph);
}

TEST(Graph, EraseRefusesWhatIsRead) {
  Diamond d;
  EXPECT_THAT(error_of([&] { d.graph.erase(d.a.node); }, ErrorKind::failure),
              HasSubstr("cannot erase 'relu'"));
  EXPECT_THAT(error_of([&] { d.graph.erase(d.c.node); }, ErrorKind::failure),
              HasSubstr("still read"));
  EXPECT_EQ(d.graph.size(), 4u);
}

TEST(Graph, SortKeepsThePresentOrderWhereItCan) {
  Diamond d;
  const Value e = d.graph.create("exp", {d.x})->result();
  d.graph.move_before(d.c.node, d.a.node);
  d.graph.move_before(d.b.node, d.x.node);
  EXPECT_EQ(kinds(d.graph), "neg input add relu exp");
  d.graph.sort_topologically();
  EXPECT_EQ(kinds(d.graph), "input neg relu add exp");
  verify(d.graph);
  d.graph.sort_topologically();
  EXPECT_EQ(kinds(d.graph), "input neg relu add exp");
  EXPECT_EQ(e.node->kind(), "exp");
}

TEST(Graph, SortRefusesACycleAndLeavesTheOrder) {
  Diamond d;
  d.a.node->set_operand(0, d.c);
  EXPECT_THAT(error_of([&] { d.graph.sort_topologically(); }, ErrorKind::failure),
              HasSubstr("cycle"));
  EXPECT_EQ(kinds(d.graph), "input relu neg add");
}

TEST(Graph, CloneIsIndependent) {
  Diamond d;
  d.graph.taps().push_back({"inner", d.a});
  d.graph.parameters().push_back({"unused", parse_type("f32[2]"), {}, {}, true, {}});
  const Graph copy = d.graph.clone();
  verify(copy);
  EXPECT_EQ(to_text(copy), to_text(d.graph));
  EXPECT_EQ(fingerprint(copy), fingerprint(d.graph));
  const std::string before = to_text(copy);
  ASSERT_EQ(copy.taps().size(), 1u);
  EXPECT_NE(copy.taps()[0].value.node, d.a.node);
  EXPECT_EQ(&copy.taps()[0].value.node->graph(), &copy);

  d.graph.replace_uses(d.b, d.a);
  d.graph.erase(d.b.node);
  d.graph.parameters().clear();
  d.a.node->provenance().scope = "elsewhere";
  d.graph.outputs()[0].name = "renamed";
  EXPECT_EQ(to_text(copy), before);
  verify(copy);
}

TEST(Graph, MovingKeepsNodesAndTheirGraph) {
  Diamond d;
  const std::string text = to_text(d.graph);
  Graph moved = std::move(d.graph);
  EXPECT_EQ(&d.a.node->graph(), &moved);
  EXPECT_EQ(to_text(moved), text);
  Graph assigned("old");
  input(assigned, "gone", "f32[1]");
  assigned = std::move(moved);
  EXPECT_EQ(&d.a.node->graph(), &assigned);
  EXPECT_EQ(to_text(assigned), text);
  assigned.create("relu", {d.c});
  verify(assigned);
}

TEST(Graph, WithSymbolGivesTheExtentEverywhere) {
  const Graph graph = attention();
  EXPECT_THAT(graph.symbols(), ElementsAre("N"));
  const Graph five = graph.with_symbol("N", 5);
  verify(five);
  EXPECT_TRUE(five.symbols().empty());
  for (const auto& node : five.nodes()) {
    for (const Type& type : node->result_types())
      EXPECT_TRUE(is_static(type.shape)) << node->kind();
  }
  EXPECT_EQ(to_string(five.outputs()[0].value.type()), "f32[5, 2, 3, 3]");
  EXPECT_EQ(to_string(graph.outputs()[0].value.type()), "f32[N, 2, 3, 3]");
  EXPECT_EQ(to_text(graph.with_symbol("M", 5)), to_text(graph));
}

TEST(Graph, WithSymbolMultipliesAndKeepsLayouts) {
  Graph graph;
  const Value x = input(graph, "x", "f32[49*N, 4, 2, 2]");
  Node* relu = graph.create("relu", {x});
  relu->set_result_type(0, parse_type("f32[49*N, 4, 2, 2]@acdb"));
  graph.outputs().push_back({"y", relu->result()});
  EXPECT_EQ(to_string(graph.with_symbol("N", 3).outputs()[0].value.type()),
            "f32[147, 4, 2, 2]@acdb");
}

TEST(Graph, WithSymbolSaysWhichNodeDoesNotFit) {
  Graph graph;
  const Value x = input(graph, "x", "f32[N, 4]");
  const Value y = input(graph, "y", "f32[N, 4]");
  Node* add = graph.create("add", {x, y}, {}, {"head", "net.cpp:3", {}});
  x.node->attributes().set("type", std::string("f32[M, 4]"));
  EXPECT_THAT(error_of([&] { graph.with_symbol("N", 2); }),
              AllOf(HasSubstr("axis 0 is M and 2"), HasSubstr("in head at net.cpp:3")));
  EXPECT_EQ(to_string(add->result().type()), "f32[N, 4]");
  EXPECT_FALSE(error_of([&] { graph.with_symbol("N", -2); }).empty());
}

TEST(Graph, SymbolsStandInOrderOfAppearance) {
  Graph graph;
  input(graph, "x", "f32[N, T]");
  input(graph, "y", "f32[2*B, N]");
  EXPECT_THAT(graph.symbols(), ElementsAre("N", "T", "B"));
}

TEST(Graph, PromotedTapsBecomeOutputsAndTheRestIsForgotten) {
  Diamond d;
  d.graph.taps() = {{"relu", d.a}, {"neg", d.b}};
  d.graph.promote_taps({"neg", "y", "neg"});
  ASSERT_EQ(d.graph.outputs().size(), 2u);
  EXPECT_EQ(d.graph.outputs()[1].name, "neg");
  EXPECT_EQ(d.graph.outputs()[1].value, d.b);
  EXPECT_TRUE(d.graph.taps().empty());
  verify(d.graph);
}

TEST(Graph, UnknownTapsAndOutputsGetTheNearestNames) {
  Diamond d;
  d.graph.taps() = {{"layer1", d.a}};
  EXPECT_EQ(error_of([&] { d.graph.promote_taps({"layer2"}); }),
            "there is no tap 'layer2'; did you mean 'layer1'?");
  EXPECT_EQ(error_of([&] { d.graph.promote_taps({"something else"}); }),
            "there is no tap 'something else'; the graph has 1 of them");
  EXPECT_EQ(error_of([&] { d.graph.select_outputs({"z"}); }),
            "there is no output 'z'; did you mean 'y'?");
}

TEST(Graph, SelectOutputsKeepsTheNamedInTheirOrder) {
  Diamond d;
  d.graph.outputs().push_back({"a", d.a});
  d.graph.outputs().push_back({"b", d.b});
  d.graph.select_outputs({"b", "y", "b"});
  ASSERT_EQ(d.graph.outputs().size(), 2u);
  EXPECT_EQ(d.graph.outputs()[0].name, "b");
  EXPECT_EQ(d.graph.outputs()[1].name, "y");
}

TEST(Graph, FindParameter) {
  Graph graph;
  parameter(graph, "fc.weight", "f32[2, 3]");
  ASSERT_NE(graph.find_parameter("fc.weight"), nullptr);
  EXPECT_EQ(to_string(graph.find_parameter("fc.weight")->type), "f32[2, 3]");
  EXPECT_EQ(graph.find_parameter("fc"), nullptr);
}

}  // namespace
}  // namespace facet::test
