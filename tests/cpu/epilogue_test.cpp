#include "ir/epilogue.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference.h"
#include "tests/cpu/run_node.h"
#include "tests/support/fill.h"

namespace facet::testing {
namespace {

Value add_input(Graph& graph, const std::string& name, const Type& type) {
  return graph.create("input", {}, {{"name", name}, {"type", to_string(type)}})->result();
}

/// What may follow a conv: the entry and the shape of its operand (empty: none).
struct Candidate {
  std::string entry;
  Shape shape;
  DType dtype = DType::f32;
};

class CpuEpilogue : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (!backend_->multiplies(GetParam())) {
      GTEST_SKIP() << "this processor multiplies no " << to_string(GetParam())
                   << ": OpMatrix runs what is computed in f32 in its place";
    }
  }

  std::unique_ptr<Backend> backend_ = make_cpu_backend();

  bool accepts(const Node& node, const Candidate& candidate) const {
    const Type type{candidate.dtype, candidate.shape, {}};
    return backend_->accepts_epilogue(node, candidate.entry,
                                      epilogue_reads_operand(candidate.entry) ? &type : nullptr);
  }
};

/// A conv of 16 to 24 channels on 9 x 7 pixels.
Node* add_conv(Graph& graph, DType dtype, Dim batch, std::int64_t kernel) {
  const Value x = add_input(graph, "x", {dtype, {batch, 16, 9, 7}, {}});
  const Value w = add_input(graph, "w", {dtype, {24, 16, kernel, kernel}, {}});
  const std::int64_t pad = kernel / 2;
  return graph.create("conv", {x, w}, {{"pads", Ints{pad, pad, pad, pad}}});
}

TEST_P(CpuEpilogue, ConvolutionsTakeWhatOneDnnRunsFast) {
  // oneDNN adds bf16 where it multiplies it; the own kernel wherever it runs.
  const bool adds_bf16 = backend_->multiplies(DType::bf16) || cpu_features().avx2;
  for (const std::int64_t kernel : {1, 3}) {
    for (const Dim& batch : {Dim("N"), Dim(1), Dim(4)}) {
      Graph graph;
      const Node* conv = add_conv(graph, GetParam(), batch, kernel);
      const Shape same{batch, 24, 9, 7};
      EXPECT_TRUE(accepts(*conv, {"bias", {24}}));
      EXPECT_TRUE(accepts(*conv, {"prelu", {24}}));
      EXPECT_TRUE(accepts(*conv, {"prelu", {1}}));
      EXPECT_TRUE(accepts(*conv, {"relu", {}}));
      EXPECT_TRUE(accepts(*conv, {"sigmoid", {}}));
      EXPECT_TRUE(accepts(*conv, {"add", same}));
      EXPECT_EQ(accepts(*conv, {"add", same, DType::bf16}), adds_bf16);
      EXPECT_TRUE(accepts(*conv, {"mul", same}));
      EXPECT_TRUE(accepts(*conv, {"mul", {batch, 24, 1, 1}}));
      // A map over the pixels makes oneDNN fall back to plain loops.
      EXPECT_FALSE(accepts(*conv, {"mul", {batch, 1, 9, 7}}));
    }
  }
}

TEST_P(CpuEpilogue, RefusesWhatIsNoEpilogue) {
  Graph graph;
  const Node* conv = add_conv(graph, GetParam(), 2, 3);
  EXPECT_FALSE(accepts(*conv, {"tanh", {}}));
  EXPECT_FALSE(accepts(*conv, {"add", {24}}));
  EXPECT_FALSE(accepts(*conv, {"bias", {16}}));
  EXPECT_FALSE(accepts(*conv, {"prelu", {24}, DType::bf16}));
  EXPECT_FALSE(accepts(*conv, {"bias", {24}, DType::i64}));
  EXPECT_FALSE(backend_->accepts_epilogue(*conv, "bias", nullptr));
  const Type type{DType::f32, {24}, {}};
  EXPECT_FALSE(backend_->accepts_epilogue(*conv, "relu", &type));
  const Value a = add_input(graph, "a", {GetParam(), {3, 4}, {}});
  const Value b = add_input(graph, "b", {GetParam(), {4, 5}, {}});
  EXPECT_FALSE(accepts(*graph.create("matmul", {a, b}), {"relu", {}}));
}

/// Appends the entry to the node, as the fusing pass does.
Node* append(Graph& graph, Node* node, const Candidate& candidate, int number) {
  std::vector<Value> operands(node->operands().begin(), node->operands().end());
  Attributes attributes = node->attributes();
  Strings entries = attributes.strings("epilogue");
  entries.push_back(candidate.entry);
  attributes.set("epilogue", entries);
  if (epilogue_reads_operand(candidate.entry)) {
    operands.push_back(
        add_input(graph, fmt::format("extra{}", number), {candidate.dtype, candidate.shape, {}}));
  }
  return graph.create(node->op(), operands, attributes);
}

/// Every chain of up to three accepted entries runs on a fast primitive and equals the oracle.
TEST_P(CpuEpilogue, WhateverIsAcceptedIsRight) {
  const double tolerance = GetParam() == DType::f32 ? 1e-5 : 1e-2;
  const Shape same{2, 24, 9, 7};
  const std::vector<Candidate> candidates{{"bias", {24}},         {"bias", {24}, DType::bf16},
                                          {"prelu", {24}},        {"prelu", {1}},
                                          {"relu", {}},           {"sigmoid", {}},
                                          {"add", same},          {"add", same, DType::bf16},
                                          {"mul", {2, 24, 1, 1}}, {"mul", {1, 24, 1, 1}},
                                          {"mul", {1}},           {"mul", same}};
  int accepted = 0;
  for (const std::int64_t kernel : {1, 3}) {
    for (std::size_t code = 0; code < candidates.size() * candidates.size(); code += 5) {
      const Candidate& first = candidates[code % candidates.size()];
      const Candidate& second = candidates[code / candidates.size()];
      Graph graph;
      Node* node = add_conv(graph, GetParam(), 2, kernel);
      int number = 0;
      for (const Candidate& candidate : {first, second, Candidate{"relu", {}}}) {
        if (accepts(*node, candidate)) node = append(graph, node, candidate, number++);
      }
      graph.outputs() = {{"y", node->result()}};
      for (Node* other : graph.node_list()) {  // the shorter convs on the way
        if (other->is("conv") && other != node) graph.erase(other);
      }
      TensorMap inputs;
      for (const Node* input : graph.inputs()) {
        const Type& type = input->result_types()[0];
        const std::string& name = input->attributes().text("name");
        inputs[name] =
            uniform(name, static_extents(type.shape), -1, 1).cast(type.dtype).cast(DType::f32);
      }
      const auto expected = evaluate(graph, inputs, {});
      const NodeRun run = run_graph(*backend_, graph, inputs, Layouts::chosen);
      ASSERT_EQ(run.implementations.size(), 1u);
      EXPECT_EQ(run.implementations[0].find("ref"), std::string::npos) << run.implementations[0];
      EXPECT_EQ(run.implementations[0].find("copies"), std::string::npos) << run.implementations[0];
      EXPECT_LE(relative_l2(run.outputs.at("y"), expected.at("y")), tolerance)
          << kernel << " " << ::testing::PrintToString(node->attributes().strings("epilogue"));
      accepted += number;
    }
  }
  EXPECT_GT(accepted, backend_->multiplies(DType::bf16) ? 80 : 60);
}

TEST_P(CpuEpilogue, LinearTakesBiasAndActivations) {
  Graph graph;
  const Value x = add_input(graph, "x", {GetParam(), {"N", 20}, {}});
  const Value w = add_input(graph, "w", {GetParam(), {12, 20}, {}});
  const Node* linear = graph.create("linear", {x, w});
  EXPECT_TRUE(accepts(*linear, {"bias", {12}}));
  EXPECT_TRUE(accepts(*linear, {"prelu", {12}}));
  EXPECT_TRUE(accepts(*linear, {"relu", {}}));
  EXPECT_TRUE(accepts(*linear, {"sigmoid", {}}));
  EXPECT_TRUE(accepts(*linear, {"add", {"N", 12}}));
  EXPECT_FALSE(accepts(*linear, {"bias", {20}}));
}

// A gate per batch and channel does not fit rows of [N*T, in]: the product keeps its axes.
TEST_P(CpuEpilogue, LinearOfHigherRankTakesGates) {
  Graph graph;
  const Value x = add_input(graph, "x", {GetParam(), {2, 5, 20}, {}});
  const Value w = add_input(graph, "w", {GetParam(), {12, 20}, {}});
  const Value gate = add_input(graph, "gate", {DType::f32, {2, 1, 12}, {}});
  Node* linear = graph.create("linear", {x, w, gate}, {{"epilogue", Strings{"mul"}}});
  graph.outputs() = {{"y", linear->result()}};
  TensorMap inputs;
  for (const Node* input : graph.inputs()) {
    const Type& type = input->result_types()[0];
    const std::string& name = input->attributes().text("name");
    inputs[name] =
        uniform(name, static_extents(type.shape), -1, 1).cast(type.dtype).cast(DType::f32);
  }
  const HostTensor expected = evaluate(graph, inputs, {}).at("y");
  EXPECT_EQ(backend_->choose_layouts(*linear).operands.size(), 3u);
  const NodeRun run = run_graph(*backend_, graph, inputs, Layouts::chosen);
  EXPECT_LE(relative_l2(run.outputs.at("y"), expected), GetParam() == DType::f32 ? 1e-5 : 1e-2);
}

INSTANTIATE_TEST_SUITE_P(Types, CpuEpilogue, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& test) { return std::string(to_string(test.param)); });

}  // namespace
}  // namespace facet::testing
