#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cpu/cpu_backend.h"
#include "tests/cpu/run_node.h"

namespace facet::testing {
namespace {

using ::testing::ElementsAre;

Value input(Graph& graph, const char* name, const char* type) {
  return graph.create("input", {}, {{"name", std::string(name)}, {"type", std::string(type)}})
      ->result();
}

TEST(OracleKernel, ComputesOnIntegersWhereNoKernelDoes) {
  const auto backend = make_cpu_backend();
  Graph graph;
  const Value a = input(graph, "a", "i64[2, 2]");
  const Value b = input(graph, "b", "i64[2]");
  const Value sum = graph.create("add", {a, b})->result();
  graph.outputs() = {{"y", sum}};
  const TensorMap inputs{
      {"a", HostTensor::from_doubles({2, 2}, {1, 2, 3, 1LL << 40}).cast(DType::i64)},
      {"b", HostTensor::from_doubles({2}, {10, -20}).cast(DType::i64)}};
  const NodeRun run = run_graph(*backend, graph, inputs, Layouts::row_major);
  EXPECT_THAT(run.implementations, ElementsAre("oracle"));
  EXPECT_EQ(run.outputs.at("y").dtype(), DType::i64);
  EXPECT_THAT(run.outputs.at("y").to_doubles(), ElementsAre(11, -18, 13, (1LL << 40) - 20));
}

TEST(OracleKernel, ReadsAndWritesStridedViews) {
  const auto backend = make_cpu_backend();
  Graph graph;
  const Value x = input(graph, "x", "f64[2, 3]");
  Node* node = graph.create("relu", {x});
  ASSERT_TRUE(backend->supports(*node));
  const Type type = x.type();
  const Memory read =
      store(HostTensor::from_doubles({2, 3}, {1, -2, 3, -4, 5, -6}), View{type, {1, 2}});
  const Memory written = allocate(View{type, {5, 1}});
  EXPECT_EQ(run_kernel(*backend, *node, std::span(&read, 1), written), "oracle");
  EXPECT_THAT(load(written).to_doubles(), ElementsAre(1, 0, 3, 0, 5, 0));
}

TEST(OracleKernel, LeavesFloatsToTheKernels) {
  const auto backend = make_cpu_backend();
  Graph graph;
  const Value x = input(graph, "x", "f32[2, 3]");
  graph.outputs() = {{"y", graph.create("relu", {x})->result()}};
  const NodeRun run =
      run_graph(*backend, graph, {{"x", HostTensor(DType::f32, {2, 3})}}, Layouts::row_major);
  EXPECT_THAT(run.implementations, ::testing::Each(::testing::Not("oracle")));
}

TEST(OracleKernel, RefusesBlocks) {
  const auto backend = make_cpu_backend();
  Graph graph;
  Node* x = graph.create(
      "input", {}, {{"name", std::string("x")}, {"type", std::string("f64[1, 16, 2, 2]@aBcd16b")}});
  Node* node = graph.create("relu", {x->result()});
  EXPECT_FALSE(backend->supports(*node));
}

}  // namespace
}  // namespace facet::testing
