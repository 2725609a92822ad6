#include <algorithm>

#include "ir/dsl.h"
#include "ir/sdpa.h"
#include "passes/prepared.h"
#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"
#include "tests/support/golden.h"
#include "tests/zoo/cases.h"
#include "zoo/blocks/lesa_layer.h"
#include "zoo/blocks/transformer_block.h"
#include "zoo/zoo.h"

namespace facet {
namespace {

using Settings = std::map<std::string, std::string>;

const testing::FakeTarget kTarget;

struct Optimized {
  Graph graph;
  std::vector<Remark> remarks;
  std::vector<Node*> attentions;
};

Optimized optimized(Graph graph) {
  PassContext context;
  context.target = &kTarget;
  context.evaluate = testing::reference_evaluator();
  run_pipeline(graph, optimization_pipeline(), context);
  Optimized result{std::move(graph), std::move(context.remarks), {}};
  for (Node* node : result.graph.node_list()) {
    if (node->is("sdpa")) result.attentions.push_back(node);
  }
  return result;
}

std::vector<std::string> scopes_of(const Optimized& network) {
  std::vector<std::string> scopes;
  for (const Node* node : network.attentions) scopes.push_back(node->provenance().scope);
  return scopes;
}

/// Nothing of an attention is left outside, and no copy stands around it: queries, keys and values
/// come from convolutions, all that is no activation is prepared, and no view reads the result.
void expect_whole(Optimized& network) {
  const PreparedSet prepared(network.graph);
  for (Node* node : network.graph.node_list()) {
    const bool part = node->is("softmax") || node->is("matmul") || node->is("skew") ||
                      node->is("unskew") || node->is("transpose");
    EXPECT_FALSE(part && !prepared.contains(node)) << node->provenance().scope;
  }
  for (Node* node : network.attentions) {
    const Sdpa sdpa = sdpa_of(*node);
    for (int i = 0; i < node->operand_count(); ++i) {
      const Value operand = node->operand(i);
      const bool is_conv = operand.node->is("conv") || operand.node->is("conv_branches");
      EXPECT_TRUE(i < 3 ? is_conv : prepared.contains(operand)) << i;
    }
    EXPECT_EQ(node->result_types()[0].rank(), 4);
    for (const Use& use : node->uses()) EXPECT_FALSE(use.node->is("reshape"));
    EXPECT_GT(sdpa.queries, 1);
  }
}

TEST(AttentionInTheZoo, AllOfLesaInBothModes) {
  const std::vector<std::string> wanted{"layer3.1.conv2", "layer3.2.conv2", "layer3.3.conv2",
                                        "layer3.4.conv2", "layer3.5.conv2", "layer4.0.conv2",
                                        "layer4.1.conv2", "layer4.2.conv2"};
  for (const char* model : {"lesa_resnet50", "lesa_wrn50"}) {
    for (const char* mode : {"classification", "detection_qr"}) {
      SCOPED_TRACE(std::string(model) + " " + mode);
      Optimized network = optimized(zoo::build(model, {{"pe_type", mode}}));
      EXPECT_EQ(scopes_of(network), wanted);
      expect_whole(network);
      for (const Node* node : network.attentions) {
        const std::string scope = node->provenance().scope;
        const auto& origins = node->provenance().origins;
        for (const char* part : {".bn_similarity", ".bn_output"}) {
          EXPECT_NE(std::find(origins.begin(), origins.end(), scope + part), origins.end()) << part;
        }
      }
      const auto applied =
          std::count_if(network.remarks.begin(), network.remarks.end(), [](const Remark& remark) {
            return remark.pass == "fuse-attention" && remark.kind == Remark::Kind::applied;
          });
      EXPECT_EQ(applied, 8);
    }
  }
}

TEST(AttentionInTheZoo, TheSideBranchOfEveryMla) {
  int networks = 0;
  for (const zoo::ModelSpec& spec : zoo::models()) {
    if (!spec.name.starts_with("mla_iresnet")) continue;
    SCOPED_TRACE(spec.name);
    Optimized network = optimized(zoo::build(spec.name, {}));
    EXPECT_EQ(scopes_of(network), std::vector<std::string>{"saatten"});
    expect_whole(network);
    ++networks;
  }
  EXPECT_GE(networks, 2);
}

// The fused networks against numbers that were computed elsewhere, in float64 as those.
TEST(AttentionInTheZoo, FusedNetworksKeepTheGoldenNumbers) {
  for (const zoo::ZooCase& zoo_case : zoo::zoo_cases()) {
    if (!zoo_case.model.starts_with("lesa") && zoo_case.model != "mla_iresnet18") continue;
    SCOPED_TRACE(zoo_case.file);
    const testing::GoldenCase golden = testing::read_golden(zoo_case.file);
    const Optimized network = optimized(zoo::build(zoo_case.model, zoo_case.settings));
    EXPECT_FALSE(network.attentions.empty());
    const TensorMap found =
        testing::evaluate_filled(network.graph, golden.inputs.at("input").at(0));
    ASSERT_EQ(found.size(), golden.outputs.size());
    for (const auto& [name, digest] : golden.outputs) {
      EXPECT_LE(testing::digest_error(digest, found.at(name)).worst(), 1e-9) << name;
    }
  }
}

/// The block and its optimised form give the same numbers.
Optimized expect_equal(const Graph& graph) {
  Optimized network = optimized(graph.clone());
  EXPECT_LE(testing::worst_difference(testing::evaluate_filled(graph),
                                      testing::evaluate_filled(network.graph)),
            1e-12);
  return network;
}

Graph block(Shape shape, const std::function<Tensor(Scope, Tensor)>& make) {
  Network network("block");
  const Tensor x = network.input("x", std::move(shape));
  network.output("y", make(network.root() / "b", x));
  return network.finish();
}

TEST(AttentionInTheZoo, ATransformerBlock) {
  const Optimized network = expect_equal(block(
      {"N", 6, 16}, [](Scope s, Tensor x) { return zoo::transformer_block(s, x, {.heads = 4}); }));
  ASSERT_EQ(network.attentions.size(), 1U);
  const Node& node = *network.attentions[0];
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(node.operand(i).node->is("linear"));
  EXPECT_TRUE(node.uses()[0].node->is("linear"));
  const Sdpa sdpa = sdpa_of(node);
  EXPECT_EQ(sdpa.heads, 4);
  EXPECT_TRUE(sdpa.channels_last);
  EXPECT_DOUBLE_EQ(sdpa.scale, 0.5);
}

TEST(AttentionInTheZoo, AMaskedMultiHeadAttention) {
  const Optimized network = expect_equal(block({"N", 5, 16}, [](Scope s, Tensor x) {
    const Initializer any{Initializer::Kind::constant, 0, 0};
    return zoo::multi_head_attention(s, x, 2, s.parameter("mask", {1, 2, 5, 5}, any));
  }));
  ASSERT_EQ(network.attentions.size(), 1U);
  EXPECT_GE(sdpa_of(*network.attentions[0]).bias, 0);
}

TEST(AttentionInTheZoo, LesaLayersOfAllShapes) {
  for (const auto positions :
       {zoo::LesaPositions::classification, zoo::LesaPositions::detection_qr}) {
    for (const std::int64_t groups : {1, 2}) {
      for (const Shape& shape : {Shape{"N", 16, 3, 5}, Shape{"N", 16, 4, 4}, Shape{"N", 8, 2, 3}}) {
        SCOPED_TRACE(to_string(shape) + " in groups of " + std::to_string(groups));
        const Optimized network = expect_equal(block(shape, [&](Scope s, Tensor x) {
          return zoo::lesa_layer(s, x, {.positions = positions, .groups = groups});
        }));
        EXPECT_EQ(network.attentions.size(), 1U);
      }
    }
  }
}

}  // namespace
}  // namespace facet
