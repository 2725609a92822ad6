#include <gmock/gmock.h>

#include "ir/dsl.h"
#include "ir/sdpa.h"
#include "passes/fuse_training.h"
#include "passes/training_mode.h"
#include "passes/vector_jacobian.h"
#include "tests/passes/attention_bodies.h"
#include "tests/passes/pass_case.h"
#include "zoo/blocks/lesa_layer.h"
#include "zoo/blocks/transformer_block.h"
#include "zoo/zoo.h"

namespace facet {
namespace {

using testing::changed;
using testing::parse_body;

int count(const Graph& graph, std::string_view kind) {
  int found = 0;
  for (const auto& node : graph.nodes()) found += node->is(kind) ? 1 : 0;
  return found;
}

Graph block(Shape shape, const std::function<Tensor(Scope, Tensor)>& make) {
  Network network("block");
  const Tensor x = network.input("x", std::move(shape));
  network.output("y", make(network.root() / "b", x));
  return network.finish();
}

/// Result, gradients and running statistics are what they are without fusions. The numbers of a
/// norm (epsilon, momentum) are f32 ones when they stand in plain ops.
Graph expect_same_gradients(const Graph& graph) {
  const Graph plain = vector_jacobian_product(graph, {"y"}, false);
  Graph fused = vector_jacobian_product(graph, {"y"}, true);
  TensorMap expected = testing::evaluate_filled(plain);
  TensorMap found = testing::evaluate_filled(fused);
  EXPECT_EQ(expected.size(), found.size());
  for (const auto& [name, tensor] : expected) {
    if (!found.contains(name)) {
      ADD_FAILURE() << name << " is missing";
    } else if (name.ends_with("bn_similarity.bias")) {  // a softmax does not see it
      for (const double value : tensor.to_doubles()) EXPECT_LE(std::fabs(value), 1e-12);
      for (const double value : found.at(name).to_doubles()) EXPECT_EQ(value, 0) << name;
    } else {
      EXPECT_LE(testing::relative_difference(tensor, found.at(name)), 1e-6) << name;
    }
  }
  return fused;
}

TEST(FuseTrainingAttention, LesaLayersKeepTheirGradientsAndStatistics) {
  for (const auto positions :
       {zoo::LesaPositions::classification, zoo::LesaPositions::detection_qr}) {
    for (const std::int64_t groups : {1, 2}) {
      for (const Shape& shape : {Shape{2, 16, 3, 5}, Shape{3, 16, 4, 4}, Shape{1, 8, 2, 3}}) {
        SCOPED_TRACE(to_string(shape) + " in groups of " + std::to_string(groups));
        const Graph fused = expect_same_gradients(block(shape, [&](Scope s, Tensor x) {
          return zoo::lesa_layer(s, x, {.positions = positions, .groups = groups});
        }));
        EXPECT_EQ(count(fused, "sdpa"), 1);
        EXPECT_EQ(count(fused, "sdpa_bwd"), 1);
        EXPECT_EQ(count(fused, "softmax") + count(fused, "skew") + count(fused, "unskew"), 0);
        for (const auto& node : fused.nodes()) {
          if (!node->is("sdpa_bwd")) continue;
          EXPECT_TRUE(sdpa_bwd_of(*node).packed);
          EXPECT_EQ(sdpa_bwd_of(*node).sdpa.interleaved,
                    positions == zoo::LesaPositions::classification);
        }
      }
    }
  }
}

TEST(FuseTrainingAttention, ATransformerBlock) {
  const Graph fused = expect_same_gradients(block(
      {2, 6, 16}, [](Scope s, Tensor x) { return zoo::transformer_block(s, x, {.heads = 4}); }));
  EXPECT_EQ(count(fused, "sdpa_bwd"), 1);
}

TEST(FuseTrainingAttention, AMaskedMultiHeadAttention) {
  const Graph fused = expect_same_gradients(block({2, 5, 16}, [](Scope s, Tensor x) {
    const Initializer any{Initializer::Kind::constant, 0, 0};
    return zoo::multi_head_attention(s, x, 2, s.parameter("mask", {1, 2, 5, 5}, any));
  }));
  ASSERT_EQ(count(fused, "sdpa_bwd"), 1);
  for (const auto& node : fused.nodes()) {
    if (node->is("sdpa_bwd")) {
      EXPECT_GE(sdpa_bwd_of(*node).bias, 0);
    }
  }
}

/// Nothing that grows with the square of the tokens is left of the network's attention.
TEST(FuseTrainingAttention, AllOfLesaResNet50) {
  Graph graph = zoo::build("lesa_resnet50").with_symbol("N", 2);
  to_training_mode(graph, {.keep_dropout = false});
  PassContext context;
  fuse_for_training(graph, context);
  EXPECT_EQ(count(graph, "sdpa"), 8);
  EXPECT_EQ(std::ranges::count_if(context.remarks,
                                  [](const Remark& remark) {
                                    return remark.kind == Remark::Kind::applied &&
                                           remark.pattern ==
                                               "sdpa+score_scale+relative_query+relative_key+"
                                               "relative_value";
                                  }),
            8);
  const Graph step =
      vector_jacobian_product(zoo::build("lesa_resnet50").with_symbol("N", 2), {"logits"}, true);
  EXPECT_EQ(count(step, "sdpa_bwd"), 8);
  const auto is_of_pairs = [](const Shape& shape) {  // 196 tokens have 391 distances
    return shape.size() == 4 && shape[2] == Dim(196) &&
           (shape[3] == Dim(196) || shape[3] == Dim(391));
  };
  for (const auto& node : step.nodes()) {
    for (const Type& type : node->result_types()) {
      EXPECT_FALSE(is_of_pairs(type.shape)) << node->kind() << " " << to_string(type);
    }
  }
}

// One part in one norm over the heads.
constexpr std::string_view kNormed = R"(
  %0 = input() {name = "x", type = "f32[2, 3, 24]"} : f32[2, 3, 24]
  %1 = parameter() {key = "n.gamma", type = "f32[2]"} : f32[2]
  %2 = parameter() {key = "n.beta", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "n.mean", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "n.var", type = "f32[2]"} : f32[2]
  %5 = reshape(%0) {shape = [0, 3, 3, 2, 4]} : f32[2, 3, 3, 2, 4]
  %6 = transpose(%5) {permutation = [2, 0, 3, 1, 4]} : f32[3, 2, 2, 3, 4]
  %7 = slice(%6) {axis = 0, end = 1, start = 0} : f32[1, 2, 2, 3, 4]
  %8 = reshape(%7) {shape = [2, 2, 3, 4]} : f32[2, 2, 3, 4]
  %9 = slice(%6) {axis = 0, end = 2, start = 1} : f32[1, 2, 2, 3, 4]
  %10 = reshape(%9) {shape = [2, 2, 3, 4]} : f32[2, 2, 3, 4]
  %11 = slice(%6) {axis = 0, end = 3, start = 2} : f32[1, 2, 2, 3, 4]
  %12 = reshape(%11) {shape = [2, 2, 3, 4]} : f32[2, 2, 3, 4]
  %13 = matmul(%8, %10) {transpose_b = true} : f32[2, 2, 3, 3]
  %14:5 = batch_norm_train(%13, %1, %2, %3, %4) {epsilon = 0.015625, momentum = 0.25} : (f32[2, 2, 3, 3], f32[2], f32[2], f32[2], f32[2])
  %15 = softmax(%14.0) {axis = 3} : f32[2, 2, 3, 3]
  %16 = matmul(%15, %12) : f32[2, 2, 3, 4]
  %17 = transpose(%16) {permutation = [0, 2, 1, 3]} : f32[2, 3, 2, 4]
  %18 = reshape(%17) {shape = [2, 3, 8]} : f32[2, 3, 8]
  return "y" = %18, "mean" = %14.3, "var" = %14.4
)";

/// Runs the pass; the graph's numbers stay what they are.
void fuse(Graph& graph, PassContext& context) {
  const TensorMap expected = testing::evaluate_filled(graph);
  const std::uint64_t before = fingerprint(graph);
  const bool changes = fuse_training_attention(graph, context);
  EXPECT_EQ(changes, before != fingerprint(graph));
  graph.sort_topologically();
  verify(graph);
  // A share of the count is an f32 number.
  EXPECT_LE(testing::worst_difference(expected, testing::evaluate_filled(graph)), 1e-7);
}

TEST(FuseTrainingAttention, ANormHasTheStatisticsOfTheBatchWithoutItsScores) {
  Graph graph = parse_body(kNormed);
  EXPECT_EQ(testing::body_of(graph), kNormed) << "the case is not written in canonical text";
  PassContext context;
  fuse(graph, context);
  EXPECT_EQ(testing::body_of(graph), R"(
  %0 = input() {name = "x", type = "f32[2, 3, 24]"} : f32[2, 3, 24]
  %1 = parameter() {key = "n.gamma", type = "f32[2]"} : f32[2]
  %2 = parameter() {key = "n.beta", type = "f32[2]"} : f32[2]
  %3 = parameter() {key = "n.mean", type = "f32[2]"} : f32[2]
  %4 = parameter() {key = "n.var", type = "f32[2]"} : f32[2]
  %5:2 = score_moments(%0, %0) {channel_axis = -1, heads = 2, key = [8, 4, 4], query = [0, 4, 4]} : (f32[1, 2], f32[1, 2])
  %6 = slice(%5.0) {axis = 0, end = 1, start = 0} : f32[1, 2]
  %7 = reshape(%6) {shape = [2]} : f32[2]
  %8 = slice(%5.1) {axis = 0, end = 1, start = 0} : f32[1, 2]
  %9 = reshape(%8) {shape = [2]} : f32[2]
  %10 = constant() {value = tensor<f32[]; [0.015625]>} : f32[]
  %11 = constant() {value = tensor<f32[]; [0.0]>} : f32[]
  %12 = maximum(%9, %11) : f32[2]
  %13 = add(%12, %10) : f32[2]
  %14 = rsqrt(%13) : f32[2]
  %15 = mul(%1, %14) : f32[2]
  %16 = constant() {value = tensor<f32[]; [0.0]>} : f32[]
  %17 = mul(%2, %16) : f32[2]
  %18 = add(%15, %17) : f32[2]
  %19 = constant() {value = tensor<f32[]; [4.0]>} : f32[]
  %20 = sub(%7, %3) : f32[2]
  %21 = div(%20, %19) : f32[2]
  %22 = add(%3, %21) : f32[2]
  %23 = constant() {value = tensor<f32[]; [18.0]>} : f32[]
  %24 = mul(%9, %23) : f32[2]
  %25 = constant() {value = tensor<f32[]; [17.0]>} : f32[]
  %26 = div(%24, %25) : f32[2]
  %27 = constant() {value = tensor<f32[]; [4.0]>} : f32[]
  %28 = sub(%26, %4) : f32[2]
  %29 = div(%28, %27) : f32[2]
  %30 = add(%4, %29) : f32[2]
  %31 = reshape(%18) {shape = [1, -1]} : f32[1, 2]
  %32 = sdpa(%0, %0, %0, %31) {channel_axis = -1, extras = ["score_scale"], heads = 2, key = [8, 4, 4], query = [0, 4, 4], value = [16, 4, 4]} : f32[2, 3, 8]
  return "y" = %32, "mean" = %22, "var" = %30
)");
}

std::string reason(Graph graph) {
  const std::string before = testing::body_of(graph);
  PassContext context;
  fuse(graph, context);
  EXPECT_EQ(testing::body_of(graph), before);
  EXPECT_EQ(context.remarks.size(), 1U);
  return context.remarks.empty() ? "" : context.remarks[0].reason;
}

std::string reason(std::string_view from, std::string_view to) {
  return reason(parse_body(changed(kNormed, from, to)));
}

/// The case with `op` of the scores and a number ahead of their norm.
Graph with_step(std::string_view op) {
  Graph graph = parse_body(kNormed);
  for (Node* node : graph.node_list()) {
    if (!node->is("batch_norm_train")) continue;
    Builder build(graph, node, {});
    node->set_operand(0, build(op, {node->operand(0), build.scalar(0.5)}));
  }
  return graph;
}

TEST(FuseTrainingAttention, WhatItRefuses) {
  EXPECT_EQ(reason("return ", "return \"inv\" = %14.2, "),
            "the statistics of the batch norm have readers");
  EXPECT_EQ(reason("return ", "return \"scores\" = %13, "), "the scores have 2 readers");
  EXPECT_EQ(reason("return ", "return \"weights\" = %15, "), "the weights are an output");
  EXPECT_EQ(reason("momentum = 0.25}", "momentum = 0.25, tail = [\"relu\"]}"),
            "the batch norm has a tail");
  EXPECT_EQ(reason(with_step("mul")), "a scale stands ahead of the batch norm");
  EXPECT_EQ(reason(with_step("add")), "the batch norm runs over a sum of parts");
}

}  // namespace
}  // namespace facet
