#include <gmock/gmock.h>

#include "ir/graph.h"
#include "ir/op.h"
#include "tests/ir/error_of.h"
#include "tests/ir/networks.h"

/// One test for each invariant of `verify`, broken through the public interface.
namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string broken(const Graph& graph) {
  return error_of([&] { verify(graph); }, ErrorKind::failure);
}

struct Small {
  Graph graph{"small"};
  Value x = input(graph, "x", "f32[2, 3]");
  Node* relu = graph.create("relu", {x}, {}, {"stem", "net.cpp:1", {}});
  Node* softmax = graph.create("softmax", {relu->result()}, {}, {"head", "net.cpp:2", {}});
  Small() {
    graph.outputs().push_back({"y", softmax->result()});
    verify(graph);
  }
};

TEST(Verify, WholeNetworksPass) {
  verify(Graph());
  verify(two_branches());
  verify(attention());
}

TEST(Verify, OperandsStandBeforeReaders) {
  Small s;
  s.graph.move_before(s.softmax, s.relu);
  EXPECT_THAT(broken(s.graph),
              AllOf(HasSubstr("graph 'small' is broken at softmax (head)"),
                    HasSubstr("reads 'relu' (stem), which does not stand before")));
}

TEST(Verify, NoNodeReadsItself) {
  Small s;
  s.relu->set_operand(0, s.relu->result());
  EXPECT_THAT(broken(s.graph), HasSubstr("does not stand before"));
}

TEST(Verify, OperandsAreThere) {
  Small s;
  s.relu->set_operand(0, Value{});
  EXPECT_THAT(broken(s.graph), HasSubstr("relu (stem): an operand is missing"));
}

TEST(Verify, OperandsAreResultsOfTheirNode) {
  Small s;
  s.relu->set_operand(0, Value{s.x.node, 1});
  EXPECT_THAT(broken(s.graph), HasSubstr("it reads result 1 of 'input'"));
}

TEST(Verify, OperandsAreOfThisGraph) {
  Graph other("other");
  Small s;
  const Value foreign = input(other, "x", "f32[2, 3]");
  s.relu->set_operand(0, foreign);
  EXPECT_THAT(broken(s.graph), HasSubstr("reads 'input' (), which does not stand before"));
  EXPECT_THAT(broken(other), HasSubstr("graph 'other' is broken at input"));
  s.relu->set_operand(0, s.x);
}

/// A definition that changes after a node was made of it stands for a node that does not fit.
TEST(Verify, ArityFitsTheDefinition) {
  OpDef op = find_op("relu");
  Graph graph;
  graph.create(op, {input(graph, "x", "f32[2]")});
  verify(graph);
  op.signature = Signature({"a", "b"}, {"y"});
  EXPECT_THAT(broken(graph), HasSubstr("it has 1 operands"));
}

TEST(Verify, ResultsAreAsManyAsInferred) {
  OpDef op = find_op("relu");
  Graph graph;
  graph.create(op, {input(graph, "x", "f32[2]")});
  op.infer = [](const InferContext& context) {
    return std::vector<Type>{context.operand(0), context.operand(0)};
  };
  EXPECT_THAT(broken(graph), HasSubstr("1 results where 2 are inferred"));
}

TEST(Verify, AttributesAreDeclared) {
  Small s;
  s.relu->attributes().set("slope", 0.5);
  EXPECT_THAT(broken(s.graph), HasSubstr("relu (stem): op 'relu' has no attribute 'slope'"));
}

TEST(Verify, AttributesAreAllSet) {
  Small s;
  s.softmax->attributes().erase("axis");
  EXPECT_THAT(broken(s.graph), HasSubstr("attribute 'axis' of op 'softmax' is not set"));
}

TEST(Verify, AttributesAreOfTheirKind) {
  Graph graph;
  const Value x = input(graph, "x", "f32[2, 3]");
  const Value c = constant(graph, {3}, {1, 1, 1});
  Node* bn = graph.create("batch_norm", {x, c, c, c, c});
  verify(graph);
  bn->attributes().set("epsilon", std::int64_t{1});  // inference does not read it
  EXPECT_THAT(broken(graph), HasSubstr("attribute 'epsilon' of op 'batch_norm' cannot be 1"));
}

TEST(Verify, AttributesAreLegal) {
  Small s;
  s.softmax->attributes().set("axis", std::int64_t{2});
  EXPECT_THAT(broken(s.graph), HasSubstr("axis 2 is outside a value of rank 2"));
}

TEST(Verify, StoredTypesEqualInferredOnes) {
  Small s;
  s.relu->set_result_type(0, parse_type("f32[3, 2]"));
  EXPECT_THAT(broken(s.graph), HasSubstr("result 0 is f32[3, 2] where f32[2, 3] is inferred"));
  s.relu->set_result_type(0, parse_type("bf16[2, 3]"));
  EXPECT_THAT(broken(s.graph), HasSubstr("result 0 is bf16[2, 3]"));
}

TEST(Verify, LayoutsAreFreeButForAReorder) {
  Small s;
  s.relu->set_result_type(0, parse_type("f32[2, 3]@ba"));
  verify(s.graph);
  Node* reorder = s.graph.create("reorder", {s.x}, {{"layout", std::string("ba")}});
  verify(s.graph);
  reorder->set_result_type(0, parse_type("f32[2, 3]@ab"));
  EXPECT_THAT(broken(s.graph), HasSubstr("f32[2, 3]@ab where f32[2, 3]@ba is inferred"));
}

TEST(Verify, ParametersAreDeclared) {
  Graph graph;
  parameter(graph, "fc.weight", "f32[2, 3]");
  verify(graph);
  graph.parameters().clear();
  EXPECT_THAT(broken(graph), HasSubstr("the state_dict has no key 'fc.weight'"));
}

TEST(Verify, ParametersAreReadAtTheirType) {
  Graph graph;
  parameter(graph, "fc.weight", "f32[2, 3]");
  graph.parameters()[0].type = parse_type("f32[3, 2]");
  EXPECT_THAT(broken(graph),
              HasSubstr("'fc.weight' is read as f32[2, 3] but declared as f32[3, 2]"));
}

TEST(Verify, ParametersAreDeclaredOnce) {
  Graph graph;
  parameter(graph, "fc.weight", "f32[2, 3]");
  graph.parameters().push_back(graph.parameters()[0]);
  EXPECT_THAT(broken(graph), HasSubstr("parameter 'fc.weight' is declared twice"));
}

TEST(Verify, FixedValuesFitTheirType) {
  Graph graph;
  parameter(graph, "table", "f32[2]");
  graph.parameters()[0].fixed = HostTensor::from_floats({2}, {1, 2});
  verify(graph);
  graph.parameters()[0].fixed = HostTensor::from_floats({3}, {1, 2, 3});
  EXPECT_THAT(broken(graph), HasSubstr("'table' is f32[2] but its fixed values are f32[3]"));
}

TEST(Verify, InputsHaveDistinctNames) {
  Graph graph;
  input(graph, "x", "f32[2]");
  input(graph, "x", "f32[3]");
  EXPECT_THAT(broken(graph), HasSubstr("a second input 'x'"));
}

TEST(Verify, OutputsHaveDistinctNames) {
  Small s;
  s.graph.outputs().push_back({"y", s.x});
  EXPECT_THAT(broken(s.graph), HasSubstr("it has two outputs 'y'"));
}

TEST(Verify, OutputsAreValuesOfTheGraph) {
  Small s;
  Graph other;
  for (const Value& value : {Value{}, Value{s.x.node, 3}, input(other, "x", "f32[2]")}) {
    s.graph.outputs() = {{"z", value}};
    EXPECT_THAT(broken(s.graph), HasSubstr("output 'z' is not a value of it"));
  }
}

TEST(Verify, TapsAreValuesOfTheGraph) {
  Small s;
  s.graph.taps() = {{"stem", s.relu->result()}, {"stem", s.x}};
  verify(s.graph);
  s.graph.taps() = {{"stem", Value{}}};
  EXPECT_THAT(broken(s.graph), HasSubstr("tap 'stem' is not a value of it"));
}

}  // namespace
}  // namespace facet::test
