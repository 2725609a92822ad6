#include "runtime/formats/onnx/recompose.h"

#include <gtest/gtest.h>

#include "backends/reference/reference.h"
#include "ir/op.h"
#include "tests/onnx/onnx_case.h"
#include "tests/passes/pass_case.h"
#include "tests/support/fill.h"
#include "tests/support/op_samples.h"

namespace facet {
namespace {

int count(const Graph& graph, std::string_view op) {
  int found = 0;
  for (const auto& node : graph.nodes()) found += node->is(op) ? 1 : 0;
  return found;
}

/// The graph of `body`, recomposed, must compute what it did; returns it.
Graph recomposed(std::string_view body) {
  Graph graph = parse_graph(testing::graph_text(body));
  const Graph before = graph.clone();
  EXPECT_TRUE(recompose(graph));
  verify(graph);
  EXPECT_FALSE(recompose(graph)) << "a second time must change nothing\n" << to_text(graph);
  const TensorMap inputs = testing::fill_inputs(before, 2);
  const TensorMap weights = testing::fill_parameters(before);
  const TensorMap expected = evaluate(before, inputs, weights);
  const TensorMap found = evaluate(graph, inputs, weights);
  for (const auto& [name, values] : expected) {
    EXPECT_LE(testing::max_difference(values, found.at(name)), 1e-12) << to_text(graph);
  }
  return graph;
}

TEST(Recompose, SkewsAndUnskewsComeBackFromTheirDecompositions) {
  for (const char* name : {"skew", "unskew"}) {
    const OpDef& op = find_op(name);
    for (const Sample& sample : op.samples.make()) {
      SCOPED_TRACE(testing::describe(op, sample));
      testing::SampleCase one = testing::make_case(op, sample);
      const Graph declared = one.graph.clone();
      Node* node = one.graph.outputs()[0].value.node;
      const Shape& x = node->operand(0).shape();
      ASSERT_TRUE(decompose(one.graph, node));
      EXPECT_EQ(count(one.graph, name), 0);
      recompose(one.graph);
      if (x.end()[-2] == Dim(1)) continue;  // one row: the identity, or a reversal
      EXPECT_TRUE(testing::same_network(declared, one.graph));
      EXPECT_EQ(count(one.graph, name), 1);
    }
  }
}

TEST(Recompose, AViewThatIsNoSkewStays) {
  Graph graph = parse_graph(testing::graph_text(R"(
  %0 = input() {name = "x", type = "f32[N, 4, 7]"} : f32[N, 4, 7]
  %1 = reshape(%0) {shape = [0, 28]} : f32[N, 28]
  %2 = slice(%1) {axis = 1, end = 26, start = 2} : f32[N, 24]
  %3 = reshape(%2) {shape = [0, 4, 6]} : f32[N, 4, 6]
  %4 = slice(%3) {axis = 2, end = 4, start = 0} : f32[N, 4, 4]
  return "y" = %4
)"));
  EXPECT_FALSE(recompose(graph));
}

TEST(Recompose, AProductWithATransposedWeightIsALayer) {
  const Graph graph = recomposed(R"(
  %0 = input() {name = "x", type = "f32[N, 5, 8]"} : f32[N, 5, 8]
  %1 = parameter() {key = "fc.weight", type = "f32[6, 8]"} : f32[6, 8]
  %2 = transpose(%1) {permutation = [1, 0]} : f32[8, 6]
  %3 = matmul(%0, %2) : f32[N, 5, 6]
  %4 = parameter() {key = "fc.bias", type = "f32[6]"} : f32[6]
  %5 = add(%4, %3) : f32[N, 5, 6]
  return "y" = %5
)");
  EXPECT_EQ(count(graph, "linear"), 1);
  EXPECT_EQ(count(graph, "add"), 0);
  EXPECT_EQ(count(graph, "transpose"), 0);
}

TEST(Recompose, AProductOfColumnsStaysOne) {
  const Graph graph = recomposed(R"(
  %0 = input() {name = "x", type = "f32[N, 8, 5]"} : f32[N, 8, 5]
  %1 = transpose(%0) {permutation = [0, 2, 1]} : f32[N, 5, 8]
  %2 = parameter() {key = "table.weight", type = "f32[6, 8]"} : f32[6, 8]
  %3 = linear(%1, %2) : f32[N, 5, 6]
  return "y" = %3
)");
  EXPECT_EQ(count(graph, "matmul"), 1);
  EXPECT_EQ(count(graph, "transpose"), 0);
}

TEST(Recompose, SquaresAndInverseRoots) {
  const Graph graph = recomposed(R"(
  %0 = input() {name = "x", type = "f32[N, 8]"} : f32[N, 8]
  %1 = mul(%0, %0) : f32[N, 8]
  %2 = constant() {value = tensor<f32[]; [0.5]>} : f32[]
  %3 = add(%1, %2) : f32[N, 8]
  %4 = sqrt(%3) : f32[N, 8]
  %5 = reciprocal(%4) : f32[N, 8]
  return "y" = %5
)");
  EXPECT_EQ(count(graph, "square"), 1);
  EXPECT_EQ(count(graph, "rsqrt"), 1);
  EXPECT_EQ(graph.size(), 5u);
}

}  // namespace
}  // namespace facet
