#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/error.h"
#include "tests/zoo/cases.h"
#include "zoo/dcr.h"
#include "zoo/iresnet.h"
#include "zoo/lscnn.h"
#include "zoo/zoo.h"

namespace facet::zoo {
namespace {

std::vector<std::string> output_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const Output& output : graph.outputs()) names.push_back(output.name);
  return names;
}

std::int64_t nodes_of(const Graph& graph, std::string_view op) {
  return std::ranges::count_if(graph.nodes(), [&](const auto& node) { return node->is(op); });
}

Shape output_shape(const Graph& graph, std::string_view name) {
  for (const Output& output : graph.outputs()) {
    if (output.name == name) return output.value.shape();
  }
  return {};
}

TEST(LsCnn, TakesAnyImageThatLandsOn7x7) {
  for (const std::int64_t size : {127, 128, 135, 142}) {
    const Graph graph = lscnn({.input_size = size});
    const auto tap = std::ranges::find(graph.taps(), "lscnn_D3", &Output::name);
    ASSERT_NE(tap, graph.taps().end());
    EXPECT_EQ(tap->value.shape(), (Shape{"N", 372, 7, 7})) << size;
  }
  EXPECT_THROW(lscnn({.input_size = 126}), Error);
  EXPECT_THROW(lscnn({.input_size = 143}), Error);
}

TEST(LsCnn, GrowthAndLayersSetTheWidths) {
  const Graph graph = build("lscnn", {{"growth_rate", "16"}, {"layers", "1,2,1"}});
  // 96 + 16 -> 56, + 32 -> 44, + 16 = 60 channels in the last map.
  EXPECT_EQ(graph.find_parameter("norm.weight")->type.shape, (Shape{60}));
}

TEST(Dcr, OutputsFollowTheBranch) {
  EXPECT_EQ(output_names(build("dcr")),
            (std::vector<std::string>{"trunk_embeddings", "branch_embeddings", "branch_logits"}));
  EXPECT_EQ(output_names(build("dcr", {{"branch", "trunk"}})),
            (std::vector<std::string>{"trunk_embeddings", "trunk_logits"}));
}

TEST(Dcr, TheChosenBranchIsTheOneThatRuns) {
  const Graph graph = build("dcr", {{"branch", "2"}});
  std::vector<std::string> read;
  for (const Node* node : graph.node_list()) {
    if (!node->is("parameter")) continue;
    const std::string& key = node->attributes().text("key");
    if (key.starts_with("branches.")) read.push_back(key);
  }
  std::ranges::sort(read);
  EXPECT_EQ(read, (std::vector<std::string>{"branches.2.fc1.bias", "branches.2.fc1.weight",
                                            "branches.2.fc2.bias", "branches.2.fc2.weight",
                                            "branches.2.relu.weight"}));
  EXPECT_NE(graph.find_parameter("branches.4.fc2.weight"), nullptr);
}

TEST(Dcr, WidthsAreOptions) {
  const Graph graph = build("dcr", {{"out_channels", "128"}, {"mid_channels", "64"}});
  EXPECT_EQ(output_shape(graph, "trunk_embeddings"), (Shape{"N", 128}));
  EXPECT_EQ(output_shape(graph, "branch_embeddings"), (Shape{"N", 64}));
  EXPECT_EQ(output_shape(graph, "branch_logits"), (Shape{"N", 10575}));
}

TEST(Dcr, EveryTrunkTakesSmallImages) {
  for (const char* backbone :
       {"DCRTrunk", "NewDCRTrunk", "ResNet-34", "ResNet-101", "ResNet-152"}) {
    EXPECT_NO_THROW(build("dcr", {{"backbone", backbone}, {"input_size", "16"}})) << backbone;
  }
  DcrOptions unknown;
  unknown.backbone = "ResNet-20";
  EXPECT_THROW(dcr(unknown), Error);
  unknown.backbone = "VGG";
  EXPECT_THROW(dcr(unknown), Error);
}

TEST(Dcr, ResNetKeysStandUnderBody) {
  const Graph graph = build("dcr", {{"backbone", "ResNet-50"}});
  const Parameter* parameter = graph.find_parameter("trunk.body.layer1.0.downsample.0.weight");
  ASSERT_NE(parameter, nullptr);
  EXPECT_EQ(parameter->type.shape, (Shape{256, 64, 1, 1}));
  EXPECT_EQ(graph.find_parameter("trunk.fc1.weight")->type.shape, (Shape{512, 2048}));
}

TEST(MlaIResNet, SeparateNormalisationsHaveTheirOwnState) {
  const Graph graph = build("mla_iresnet18", {{"shared_bn", "false"}});
  EXPECT_EQ(count(graph).parameters, 24'834'969 + 2 * 1024);
  EXPECT_NE(graph.find_parameter("bn_side.running_mean"), nullptr);
  EXPECT_NE(graph.find_parameter("bn_trunk.running_mean"), nullptr);
  // Shared or not, each of the three is applied once.
  EXPECT_EQ(nodes_of(graph, "batch_norm"), nodes_of(build("mla_iresnet18"), "batch_norm"));
}

TEST(MlaIResNet, TheSharedNormalisationIsAppliedThreeTimes) {
  const Graph graph = build("mla_iresnet18");
  for (const Node* node : graph.node_list()) {
    if (node->is("parameter") && node->attributes().text("key") == "bn2.running_var") {
      EXPECT_EQ(node->uses().size(), 3U);
    }
  }
}

TEST(MlaIResNet, WithoutClampTheEnergiesAreScaled) {
  EXPECT_EQ(nodes_of(build("mla_iresnet18"), "clamp"), 1);
  const Graph graph = build("mla_iresnet18", {{"clamp", "false"}});
  EXPECT_EQ(nodes_of(graph, "clamp"), 0);
  for (const Node* node : graph.node_list()) {
    if (!node->is("softmax")) continue;
    const Node* scale = node->operand(0).node;
    ASSERT_TRUE(scale->is("mul"));
    ASSERT_TRUE(scale->operand(1).node->is("constant"));
    EXPECT_EQ(scale->operand(1).node->attributes().tensor("value").at(0), 0.125);
  }
}

TEST(IResNet, EmbeddingSizeIsAnOption) {
  const Graph graph = build("arcface_iresnet18", {{"embedding_size", "128"}});
  EXPECT_EQ(output_shape(graph, "embedding"), (Shape{"N", 128}));
  EXPECT_THROW(arcface_iresnet({.depth = 19}), Error);
}

TEST(IResNet, ZeroInitTakesTheAskedNormalisation) {
  const auto zeroed = [](const Graph& graph) {
    std::vector<std::string> keys;
    for (const Parameter& parameter : graph.parameters()) {
      if (parameter.role == ParameterRole::bn_weight && parameter.init.a == 0) {
        keys.push_back(parameter.key);
      }
    }
    return keys;
  };
  EXPECT_TRUE(zeroed(build("mla_iresnet18")).empty());
  const auto middle = zeroed(build("mla_iresnet18", {{"zero_init_residual", "bn2"}}));
  EXPECT_EQ(middle.size(), 8U);  // one a block; not the head's own bn2
  EXPECT_EQ(middle.front(), "layer1.0.bn2.weight");
  const auto last = zeroed(build("arcface_iresnet18", {{"zero_init_residual", "bn3"}}));
  EXPECT_EQ(last.size(), 8U);
  EXPECT_EQ(last.front(), "layer1.0.bn3.weight");
}

// Fresh parameters follow the published distributions.
void expect_init(const Graph& graph, const std::string& key, Initializer::Kind kind, double a,
                 double b) {
  const Parameter* parameter = graph.find_parameter(key);
  ASSERT_NE(parameter, nullptr) << key;
  EXPECT_EQ(parameter->init.kind, kind) << key;
  EXPECT_DOUBLE_EQ(parameter->init.a, a) << key;
  if (kind == Initializer::Kind::constant) return;
  EXPECT_DOUBLE_EQ(parameter->init.b, b) << key;
}

TEST(Initialisers, AreThePublishedOnes) {
  using Kind = Initializer::Kind;
  const Graph lscnn = build("lscnn");
  const double stem = 1 / std::sqrt(27.0);
  expect_init(lscnn, "conv1.weight", Kind::uniform, -stem, stem);
  expect_init(lscnn, "conv1.bias", Kind::uniform, -stem, stem);
  const double fc = 1 / std::sqrt(372.0);
  expect_init(lscnn, "fc.weight", Kind::uniform, -fc, fc);

  const Graph dcr = build("dcr");
  expect_init(dcr, "trunk.conv1.weight", Kind::normal, 0, std::sqrt(2.0 / (49 * 64)));
  expect_init(dcr, "trunk.layer2.0.downsample.0.weight", Kind::normal, 0, std::sqrt(2.0 / 128));
  const double head = 1 / std::sqrt(512.0);
  expect_init(dcr, "branches.0.fc2.bias", Kind::uniform, -head, head);
  expect_init(dcr, "branches.0.relu.weight", Kind::constant, 0.25, 0);
  const Graph paper = build("dcr", {{"backbone", "NewDCRTrunk"}});
  expect_init(paper, "trunk.layer4.0.weight", Kind::normal, 0, std::sqrt(2.0 / (9 * 512)));

  const Graph mla = build("mla_iresnet18");
  for (const char* key : {"conv1.weight", "layer1.0.conv2.weight", "layer1.0.downsample.0.weight",
                          "layer1.0.attn.ca.fc.0.weight", "layer1.0.attn.sa.conv1.weight",
                          "saatten.conv1_.weight", "saatten.query_conv.weight"}) {
    expect_init(mla, key, Kind::normal, 0, 0.1);
  }
  expect_init(mla, "saatten.value_conv.bias", Kind::uniform, -head, head);
  const double embedding = 1 / std::sqrt(25088.0);
  expect_init(mla, "fc.weight", Kind::uniform, -embedding, embedding);
  expect_init(mla, "fc.bias", Kind::uniform, -embedding, embedding);
  expect_init(mla, "lf.gamma", Kind::constant, 0.5, 0);
  expect_init(mla, "layer3.1.attn.ca.lf.gamma", Kind::constant, 0.5, 0);
  expect_init(mla, "bn1.running_var", Kind::constant, 1, 0);
  EXPECT_FALSE(mla.find_parameter("features.weight")->trainable);
  EXPECT_TRUE(mla.find_parameter("features.bias")->trainable);
}

}  // namespace
}  // namespace facet::zoo
