#include "zoo/small_presets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "ir/error.h"
#include "passes/vector_jacobian.h"
#include "tests/zoo/cases.h"

namespace facet::zoo {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Options = std::map<std::string, std::string>;

constexpr const char* kNames[] = {"lscnn_small", "dcr_small", "mla_small", "lesa_small"};

Shape output_shape(const Graph& graph, std::string_view name) {
  const auto found = std::ranges::find(graph.outputs(), name, &Output::name);
  return found != graph.outputs().end() ? found->value.shape() : Shape{};
}

/// The map that the module `name` gives.
Shape tap_shape(const Graph& graph, std::string_view name) {
  const auto found = std::ranges::find(graph.taps(), name, &Output::name);
  return found != graph.taps().end() ? found->value.shape() : Shape{};
}

std::int64_t nodes_of(const Graph& graph, std::string_view op) {
  return std::ranges::count_if(graph.nodes(), [&](const auto& node) { return node->is(op); });
}

std::string message(const std::string& model, const Options& options) {
  try {
    build(model, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return {};
}

TEST(SmallPresets, TakeBothSizesAndGiveEmbeddingAndLogits) {
  for (const std::string name : kNames) {
    for (const char* size : {"28", "64"}) {
      SCOPED_TRACE(name + " " + size);
      const Graph graph = build(name, {{"input_size", size}, {"num_classes", "37"}});
      const std::int64_t side = std::stoll(size);
      EXPECT_EQ(graph.inputs()[0]->result().shape(), (Shape{"N", 3, side, side}));
      ASSERT_EQ(graph.outputs().size(), 2U);
      EXPECT_EQ(graph.outputs()[0].name, "embedding");
      EXPECT_EQ(output_shape(graph, "logits"), (Shape{"N", 37}));
      EXPECT_EQ(output_shape(graph, "embedding"), (Shape{"N", name == "lesa_small" ? 512 : 128}));
    }
  }
}

// What makes them trainable on a desktop: 60,000 pictures in about a minute.
TEST(SmallPresets, CostTwentyToSixtyMillionMultiplyAdds) {
  for (const char* name : kNames) {
    const std::int64_t small = count_macs(build(name)).total();
    EXPECT_GE(small, 20'000'000) << name;
    EXPECT_LE(small, 62'000'000) << name;
    const std::int64_t large = count_macs(build(name, {{"input_size", "64"}})).total();
    EXPECT_GT(large, small) << name;
    EXPECT_LT(large, 1.6 * static_cast<double>(small)) << name;
  }
}

TEST(SmallPresets, OtherSizesAreRefused) {
  for (const std::string name : kNames) {
    for (const std::string size : {"1", "27", "32", "63", "65", "112"}) {
      EXPECT_THAT(message(name, {{"input_size", size}}),
                  AllOf(HasSubstr(name + ": input_size=" + size), HasSubstr("28 or 64 pixels")));
    }
  }
}

TEST(SmallPresets, BadWidthsAndLayersAreRefused) {
  for (const std::string name : kNames) {
    EXPECT_THAT(message(name, {{"width", "8"}}), HasSubstr("an integer of at least 16"));
    EXPECT_THAT(message(name, {{"layers", "1,2,3,4"}}),
                AllOf(HasSubstr(name), HasSubstr("positive numbers")));
    EXPECT_THAT(message(name, {{"layers", "1"}}), HasSubstr("positive numbers"));
  }
  EXPECT_THAT(message("lscnn_small", {{"layers", "0,2"}}), HasSubstr("two positive numbers"));
  EXPECT_THAT(message("dcr_small", {{"layers", "1,0,2"}}), HasSubstr("3 positive numbers"));
  EXPECT_THAT(message("mla_small", {{"layers", "1,0,2"}}), HasSubstr("positive numbers"));
  EXPECT_THAT(message("lesa_small", {{"layers", "1,0,2"}}), HasSubstr("3 numbers"));
  EXPECT_THAT(message("dcr_small", {{"branch", "3"}}),
              HasSubstr("dcr_small: there is no branch 3"));
}

// The gradient of both outputs reaches every parameter that is to be trained.
TEST(SmallPresets, EveryTrainableParameterHasAGradient) {
  for (const std::string name : kNames) {
    const Graph graph = build(name).with_symbol("N", 2);
    std::set<std::string> found;
    const Graph gradients = vector_jacobian_product(graph, {"embedding", "logits"});
    for (const Output& output : gradients.outputs()) found.insert(output.name);
    for (const Parameter& parameter : graph.parameters()) {
      const std::string& key = parameter.key;
      if (!parameter.trainable) continue;
      const bool idle =
          name == "dcr_small" && (key.starts_with("trunk.fc2.") || key.starts_with("branches.1.") ||
                                  key.starts_with("branches.2."));
      EXPECT_EQ(found.contains(key), !idle) << name << " " << key;
    }
  }
}

TEST(LsCnnSmall, TwoDenseBlocksBehindTheStem) {
  const Graph graph = build("lscnn_small");
  EXPECT_EQ(tap_shape(graph, "maxPool1"), (Shape{"N", 32, 13, 13}));
  EXPECT_EQ(tap_shape(graph, "lcnn_D1"), (Shape{"N", 64 + 32, 13, 13}));
  EXPECT_EQ(tap_shape(graph, "lscnn_T1"), (Shape{"N", 48, 6, 6}));
  EXPECT_EQ(tap_shape(graph, "lscnn_D2"), (Shape{"N", 48 + 3 * 32, 6, 6}));
  EXPECT_NE(graph.find_parameter("lscnn_D2.DenseBlock_2.DFA_2.SENet.fc1.weight"), nullptr);
  const Graph wide =
      build("lscnn_small",
            {{"width", "48"}, {"growth_rate", "16"}, {"layers", "2,1"}, {"input_size", "64"}});
  EXPECT_EQ(tap_shape(wide, "lcnn_D1"), (Shape{"N", 96 + 2 * 16, 15, 15}));
  EXPECT_EQ(tap_shape(wide, "lscnn_D2"), (Shape{"N", 64 + 16, 7, 7}));
}

TEST(DcrSmall, HasTheCountsOfItsLayers) {
  const Graph graph = build("dcr_small");
  const std::int64_t stem = 3 * 9 * 48;
  const std::int64_t stage1 = 4 * 9 * 48 * 48;
  const std::int64_t stage2 = 9 * 48 * 96 + 3 * 9 * 96 * 96 + 48 * 96;
  const std::int64_t stage3 = 9 * 96 * 192 + 3 * 9 * 192 * 192 + 96 * 192;
  const std::int64_t norms = 2 * (5 * 48 + 5 * 96 + 5 * 192);
  const std::int64_t trunk_embedding = 192 * 128 + 128;
  const std::int64_t classifier = 128 * 10 + 10;
  const std::int64_t branch = 128 * 128 + 128 + 1 + classifier;
  EXPECT_EQ(count(graph, "trunk.").parameters,
            stem + stage1 + stage2 + stage3 + norms + trunk_embedding + classifier);
  EXPECT_EQ(count(graph, "branches.").parameters, 3 * branch);
  EXPECT_EQ(count_macs(graph).conv,
            stem * 28 * 28 + stage1 * 14 * 14 + stage2 * 7 * 7 + stage3 * 4 * 4);
  EXPECT_EQ(count_macs(graph).linear, 192 * 128 + 128 * 128 + 128 * 10);
}

TEST(DcrSmall, OutputsAreTheBranchsOrTheTrunks) {
  const auto reads = [](const Graph& graph, std::string_view wanted) {
    return std::ranges::any_of(graph.nodes(), [&](const auto& node) {
      return node->is("parameter") && node->attributes().text("key") == wanted;
    });
  };
  const Graph branch = build("dcr_small", {{"branch", "2"}});
  EXPECT_TRUE(reads(branch, "branches.2.fc2.weight"));
  EXPECT_FALSE(reads(branch, "branches.0.fc2.weight"));
  EXPECT_FALSE(reads(branch, "trunk.fc2.weight"));
  const Graph trunk = build("dcr_small", {{"branch", "trunk"}});
  EXPECT_TRUE(reads(trunk, "trunk.fc2.weight"));
  EXPECT_EQ(output_shape(trunk, "embedding"), (Shape{"N", 128}));
}

TEST(MlaSmall, TheSideBranchHasThePlacesOfTheTrunk) {
  for (const char* size : {"28", "64"}) {
    const Graph graph = build("mla_small", {{"input_size", size}});
    EXPECT_EQ(tap_shape(graph, "saatten"), (Shape{"N", 128, 4, 4})) << size;
    EXPECT_EQ(tap_shape(graph, "layer3"), (Shape{"N", 128, 4, 4})) << size;
  }
  const Graph graph = build("mla_small");
  EXPECT_NE(graph.find_parameter("layer2.1.attn.ca.lf.gamma"), nullptr);
  EXPECT_NE(graph.find_parameter("bn_side.running_mean"), nullptr);
  EXPECT_EQ(nodes_of(graph, "clamp"), 0);
  EXPECT_EQ(graph.find_parameter("classifier.weight")->type.shape, (Shape{10, 128}));
  const Graph published = build("mla_small", {{"shared_bn", "true"}, {"clamp", "true"}});
  EXPECT_EQ(published.find_parameter("bn_side.running_mean"), nullptr);
  EXPECT_EQ(nodes_of(published, "clamp"), 1);
}

TEST(MlaSmall, WithoutAttentionItIsArcFacesNetwork) {
  const Graph graph = build("mla_small", {{"attention", "false"}});
  EXPECT_EQ(nodes_of(graph, "softmax"), 0);
  EXPECT_EQ(graph.find_parameter("layer1.0.attn.sa.conv1.weight"), nullptr);
  EXPECT_EQ(output_shape(graph, "logits"), (Shape{"N", 10}));
}

TEST(LesaSmall, TheLastStageAttendsOnTheSmallMap) {
  const Graph graph = build("lesa_small");
  EXPECT_EQ(tap_shape(graph, "layer1"), (Shape{"N", 128, 14, 14}));
  EXPECT_EQ(tap_shape(graph, "layer3"), (Shape{"N", 512, 7, 7}));
  EXPECT_EQ(nodes_of(graph, "softmax"), 2);
  // Distances of 7 * 7 tokens; heads of 128 / 4 channels.
  EXPECT_EQ(graph.find_parameter("layer3.0.conv2.relative")->type.shape, (Shape{64, 2 * 49 - 1}));
  const Graph large = build("lesa_small", {{"input_size", "64"}, {"pe_type", "detection_qr"}});
  EXPECT_EQ(large.find_parameter("layer3.1.conv2.rel_width")->type.shape, (Shape{2 * 8 - 1, 16}));
  EXPECT_EQ(nodes_of(build("lesa_small", {{"lesa", "false"}}), "softmax"), 0);
  EXPECT_THAT(message("lesa_small", {{"groups", "5"}}), HasSubstr("choose another groups"));
}

}  // namespace
}  // namespace facet::zoo
