#include "zoo/lesa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/error.h"
#include "zoo/zoo.h"

namespace facet::zoo {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The scopes that hold a LESA layer, in order.
std::vector<std::string> lesa_scopes(const Graph& graph) {
  const std::string suffix = ".qkv_transform.weight";
  std::vector<std::string> scopes;
  for (const Parameter& parameter : graph.parameters()) {
    if (!parameter.key.ends_with(suffix)) continue;
    scopes.push_back(parameter.key.substr(0, parameter.key.size() - suffix.size()));
  }
  return scopes;
}

Shape shape_of(const Graph& graph, const std::string& key) {
  const Parameter* parameter = graph.find_parameter(key);
  return parameter != nullptr ? parameter->type.shape : Shape{};
}

std::string message(const std::map<std::string, std::string>& settings) {
  try {
    build("lesa_resnet50", settings);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return {};
}

TEST(LesaResNet, LateStagesAttend) {
  EXPECT_THAT(lesa_scopes(build("lesa_resnet50")),
              ElementsAre("layer3.1.conv2", "layer3.2.conv2", "layer3.3.conv2", "layer3.4.conv2",
                          "layer3.5.conv2", "layer4.0.conv2", "layer4.1.conv2", "layer4.2.conv2"));
  EXPECT_TRUE(lesa_scopes(build("lesa_resnet50", {{"lesa", "false"}})).empty());
}

TEST(LesaResNet, StagesAndFirstBlocksAreOptions) {
  const std::map<std::string, std::string> small{
      {"layers", "1,2,1,2"}, {"stage_with_lesa", "0,1,0,1"}, {"stage_with_first_conv", "1,1,1,1"}};
  EXPECT_THAT(lesa_scopes(build("lesa_resnet50", small)),
              ElementsAre("layer2.1.conv2", "layer4.1.conv2"));
}

// A LESA layer with a stride attends at the resolution ahead of it, so its tables are larger.
TEST(LesaResNet, AStridedLayerHasTablesOfItsInput) {
  const Graph graph = build("lesa_resnet50", {{"layers", "1,1,1,2"},
                                              {"strides", "1,2,2,2"},
                                              {"stage_spatial_res", "56,28,14,7"},
                                              {"stage_with_lesa", "0,0,0,1"},
                                              {"pe_type", "detection_qr"}});
  EXPECT_EQ(shape_of(graph, "layer4.0.conv2.rel_width"), (Shape{27, 32}));
  EXPECT_EQ(shape_of(graph, "layer4.1.conv2.rel_width"), (Shape{13, 32}));
}

TEST(LesaResNet, OtherImagesNeedOtherTables) {
  const std::map<std::string, std::string> large{{"input_size", "256"},
                                                 {"stage_spatial_res", "64,32,16,16"}};
  EXPECT_EQ(shape_of(build("lesa_resnet50", large), "layer4.0.conv2.relative"), (Shape{128, 511}));
  EXPECT_THAT(message({{"input_size", "256"}}),
              AllOf(HasSubstr("lesa_resnet50"), HasSubstr("layer3.1"), HasSubstr("16 x 16"),
                    HasSubstr("stage_spatial_res=14")));
  EXPECT_EQ(message({{"input_size", "256"}, {"lesa", "false"}}), "");
}

TEST(LesaResNet, TheFusionIsAnOption) {
  const Graph graph = build("lesa_resnet50", {{"df_channel_shrink", "2,4"},
                                              {"df_kernel_size", "1,3,1"},
                                              {"df_group", "1,4,1"},
                                              {"groups", "4"}});
  EXPECT_EQ(shape_of(graph, "layer3.1.conv2.reasoning.4.weight"), (Shape{64, 64, 3, 3}));
  EXPECT_EQ(shape_of(graph, "layer3.1.conv2.projection.0.weight"), (Shape{256, 64, 1, 1}));
  EXPECT_EQ(shape_of(graph, "layer3.1.conv2.x_transform.0.weight"), (Shape{256, 64, 3, 3}));
  EXPECT_EQ(shape_of(graph, "layer3.1.conv2.bn_similarity.weight"), (Shape{12}));
}

TEST(LesaResNet, SaysWhatDoesNotFit) {
  EXPECT_THAT(message({{"strides", "1,2,2"}}), HasSubstr("strides takes four numbers"));
  EXPECT_THAT(message({{"stage_with_lesa", "0,0,2,1"}}), HasSubstr("0 or 1"));
  EXPECT_THAT(message({{"df_kernel_size", "1"}}), HasSubstr("2 entries, not 1 and 2"));
  EXPECT_THAT(message({{"df_channel_shrink", "0"}}), HasSubstr("positive numbers"));
  EXPECT_THAT(message({{"groups", "96"}}), HasSubstr("do not divide into 96 groups"));
  EXPECT_THAT(message({{"input_size", "2"}}), HasSubstr("use 4 or more"));
}

// i - j + K - 1, as the published buffer has it.
TEST(LesaResNet, TheIndexBufferHasItsOwnValues) {
  const Graph graph = build("lesa_resnet50", {{"layers", "1,1,1,1"}});
  const Parameter* index = graph.find_parameter("layer4.0.conv2.flatten_index");
  ASSERT_NE(index, nullptr);
  EXPECT_FALSE(index->trainable);
  EXPECT_EQ(index->fixed.at(0), 195);
  EXPECT_EQ(index->fixed.at(1), 194);
  EXPECT_EQ(index->fixed.at(196), 196);
  EXPECT_EQ(index->fixed.at(196 * 196 - 1), 195);
  EXPECT_EQ(index->fixed.at(195 * 196), 390);
}

TEST(LesaResNet, InitialisersAreThePublishedOnes) {
  const Graph graph = build("lesa_resnet50");
  const auto deviation = [&](const std::string& key) {
    const Initializer init = graph.find_parameter(key)->init;
    EXPECT_EQ(init.kind, Initializer::Kind::normal) << key;
    EXPECT_EQ(init.a, 0) << key;
    return init.b;
  };
  EXPECT_DOUBLE_EQ(deviation("layer3.1.conv2.qkv_transform.weight"), 1 / 16.0);
  EXPECT_DOUBLE_EQ(deviation("layer3.1.conv2.relative"), std::sqrt(1 / 32.0));
  EXPECT_DOUBLE_EQ(deviation("layer3.1.conv2.x_transform.0.weight"), std::sqrt(2.0 / (256 * 9)));
  EXPECT_DOUBLE_EQ(deviation("layer3.1.conv3.weight"), std::sqrt(2.0 / 1024));
  const Initializer fc = graph.find_parameter("fc.bias")->init;
  EXPECT_EQ(fc.kind, Initializer::Kind::uniform);
  EXPECT_DOUBLE_EQ(fc.b, 1 / std::sqrt(2048.0));
  const Graph detection = build("lesa_resnet50", {{"pe_type", "detection_qr"}});
  EXPECT_DOUBLE_EQ(detection.find_parameter("layer3.1.conv2.rel_width")->init.b, 0.25);
}

}  // namespace
}  // namespace facet::zoo
