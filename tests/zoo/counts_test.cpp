#include <gtest/gtest.h>

#include "tests/zoo/cases.h"
#include "zoo/zoo.h"

// Numbers measured on the published implementations.
namespace facet::zoo {
namespace {

TEST(LsCnnCounts, AreThePublishedOnes) {
  const Graph graph = build("lscnn");
  EXPECT_EQ(count(graph).parameters, 10'048'960);
  EXPECT_EQ(count(graph).buffers, 18'672);
  EXPECT_EQ(graph.parameters().size(), 661U);
  EXPECT_EQ(count(graph, "lcnn_D1.").parameters, 783'561);
  EXPECT_EQ(count(graph, "lscnn_T1.").parameters, 530'911);
  EXPECT_EQ(count(graph, "lscnn_D2.").parameters, 818'127);
  EXPECT_EQ(count(graph, "lscnn_T2.").parameters, 641'817);
  EXPECT_EQ(count(graph, "lscnn_D3.").parameters, 1'518'745);
  EXPECT_EQ(count(graph, "classification.").parameters, 5'416'767);
  const Macs macs = count_macs(graph);
  EXPECT_EQ(macs.conv, 2'206'142'758);
  EXPECT_EQ(macs.linear, 5'666'128);
  EXPECT_EQ(macs.matmul, 0);
}

struct IResNetRow {
  std::int64_t depth;
  std::int64_t mla, mla_trainable;
  double mla_gmacs;
  std::size_t mla_entries;
  std::int64_t mla_buffers;
  std::int64_t arcface;
  double arcface_gmacs;
};

class IResNetCounts : public ::testing::TestWithParam<IResNetRow> {};

TEST_P(IResNetCounts, AreThePublishedOnes) {
  const IResNetRow& row = GetParam();
  const Graph mla = build("mla_iresnet" + std::to_string(row.depth));
  EXPECT_EQ(count(mla).parameters, row.mla);
  EXPECT_EQ(count(mla).parameters - count(mla).frozen, row.mla_trainable);
  EXPECT_EQ(count(mla).buffers, row.mla_buffers);
  EXPECT_EQ(mla.parameters().size(), row.mla_entries);
  EXPECT_NEAR(static_cast<double>(count_macs(mla).total()) * 1e-9, row.mla_gmacs, 5.1e-5);
  const Graph arcface = build("arcface_iresnet" + std::to_string(row.depth));
  EXPECT_EQ(count(arcface).parameters, row.arcface);
  EXPECT_NEAR(static_cast<double>(count_macs(arcface).total()) * 1e-9, row.arcface_gmacs, 5.1e-5);
}

INSTANTIATE_TEST_SUITE_P(
    Zoo, IResNetCounts,
    ::testing::Values(
        IResNetRow{18, 24'834'969, 24'834'457, 2.6477, 227, 14'751, 24'025'600, 2.6100},
        IResNetRow{34, 35'019'633, 35'019'121, 4.4980, 403, 25'911, 34'139'328, 4.4596},
        IResNetRow{50, 44'537'481, 44'536'969, 6.3480, 579, 38'223, 43'590'848, 6.3093},
        IResNetRow{100, 66'254'772, 66'254'260, 12.1296, 1129, 69'786, 65'156'160, 12.0896},
        IResNetRow{200, 120'309'607, 120'309'095, 23.4622, 2207, 136'365, 118'833'920, 23.4189}),
    [](const auto& test) { return "depth" + std::to_string(test.param.depth); });

struct DcrRow {
  std::string name;
  std::map<std::string, std::string> settings;
  std::int64_t total, trunk, trunk_classifier, branch;
  std::size_t entries;
  std::int64_t buffers;
};

class DcrCounts : public ::testing::TestWithParam<DcrRow> {};

TEST_P(DcrCounts, AreThePublishedOnes) {
  const DcrRow& row = GetParam();
  const Graph graph = build("dcr", row.settings);
  EXPECT_EQ(count(graph).parameters, row.total);
  EXPECT_EQ(count(graph, "trunk.").parameters, row.trunk);
  EXPECT_EQ(count(graph, "trunk.fc2.").parameters, row.trunk_classifier);
  EXPECT_EQ(count(graph, "branches.0.").parameters, row.branch);
  EXPECT_EQ(count(graph, "branches.3.").parameters, row.branch);
  EXPECT_EQ(count(graph).buffers, row.buffers);
  EXPECT_EQ(graph.parameters().size(), row.entries);
}

constexpr std::int64_t classifier = 512 * 10575 + 10575;

INSTANTIATE_TEST_SUITE_P(
    Zoo, DcrCounts,
    ::testing::Values(
        DcrRow{"DCRTrunk", {}, 53'490'975, 25'052'815, classifier, 5'687'632, 185, 14'490},
        DcrRow{"NewDCRTrunk",
               {{"backbone", "NewDCRTrunk"}},
               56'429'855,
               27'991'695,
               classifier,
               5'687'632,
               194,
               12'631},
        DcrRow{"NewDCRTrunkWithoutBn",
               {{"backbone", "NewDCRTrunk"}, {"use_bn", "false"}},
               56'417'247,
               27'979'087,
               classifier,
               5'687'632,
               79,
               0},
        DcrRow{"ResNet18",
               {{"backbone", "ResNet-18"}},
               45'302'303,
               16'864'143,
               classifier,
               5'687'632,
               149,
               9'620},
        DcrRow{"ResNet50",
               {{"backbone", "ResNet-50"}},
               58'420'255,
               29'982'095,
               classifier,
               5'687'632,
               347,
               53'173},
        DcrRow{"SCface",
               {{"num_classes", "130"}, {"num_scales", "4"}},
               21'011'918,
               19'694'530,
               512 * 130 + 130,
               329'347,
               180,
               14'490}),
    [](const auto& test) { return test.param.name; });

TEST(DcrMacs, CountOnlyWhatRuns) {
  const Macs trunk = count_macs(build("dcr", {{"branch", "trunk"}}));
  EXPECT_EQ(trunk.conv, 788'614'144);
  EXPECT_EQ(trunk.linear, 5'676'544);
  const Macs branch = count_macs(build("dcr", {{"branch", "3"}}));
  EXPECT_EQ(branch.conv, 788'614'144);
  EXPECT_EQ(branch.linear, 5'938'688);
  const Macs paper = count_macs(build("dcr", {{"backbone", "NewDCRTrunk"}, {"use_bn", "false"}}));
  EXPECT_EQ(paper.conv, 3'891'124'224);
  EXPECT_EQ(paper.linear, 5'938'688);
}

struct LesaRow {
  std::string name;
  std::string model;
  std::map<std::string, std::string> settings;
  std::int64_t parameters;
  std::int64_t buffers;  ///< 0: not published
  double gmacs;
};

class LesaCounts : public ::testing::TestWithParam<LesaRow> {};

/// The published measurement counts the product with a raster table as one with all K pairs of a
/// token; here it is one with all 2K - 1 distances. The tables of rows and columns agree.
double published_gmacs(const Graph& graph) {
  const Macs macs = count_macs(graph);
  const double tokens = 14 * 14;
  double more = 0;
  for (const Parameter& parameter : graph.parameters()) {
    if (!parameter.key.ends_with("conv2.relative")) continue;
    const double channels = 4 * static_cast<double>(parameter.type.shape[0].factor);
    more += tokens * (tokens - 1) * 2 * channels;  // half of C for q and for k, all of C for v
  }
  return (static_cast<double>(macs.total()) - more) * 1e-9;
}

TEST_P(LesaCounts, AreThePublishedOnes) {
  const LesaRow& row = GetParam();
  const Graph graph = build(row.model, row.settings);
  EXPECT_EQ(count(graph).parameters, row.parameters);
  EXPECT_EQ(count(graph).frozen, 0);
  if (row.buffers != 0) {
    EXPECT_EQ(count(graph).buffers, row.buffers);
  }
  EXPECT_NEAR(published_gmacs(graph), row.gmacs, 5.1e-5);
}

INSTANTIATE_TEST_SUITE_P(
    Zoo, LesaCounts,
    ::testing::Values(
        LesaRow{"ResNet50", "lesa_resnet50", {}, 23'777'512, 394'717, 6.1778},
        LesaRow{"Wrn50", "lesa_wrn50", {}, 61'145'896, 443'613, 16.5290},
        LesaRow{"ResNet50Detection",
                "lesa_resnet50",
                {{"pe_type", "detection_qr"}},
                23'505'992,
                81'629,
                5.9764},
        LesaRow{"Wrn50Detection",
                "lesa_wrn50",
                {{"pe_type", "detection_qr"}},
                60'602'984,
                124'893,
                16.1261},
        LesaRow{"ResNet50Baseline", "lesa_resnet50", {{"lesa", "false"}}, 25'557'032, 0, 6.2086},
        LesaRow{"Wrn50Baseline", "lesa_wrn50", {{"lesa", "false"}}, 68'883'240, 0, 17.4095},
        LesaRow{"ResNet50Standard",
                "lesa_resnet50",
                {{"lesa", "false"}, {"strides", "1,2,2,2"}},
                25'557'032,
                0,
                4.0892}),
    [](const auto& test) { return test.param.name; });

TEST(LesaCounts, PartsAreThePublishedOnes) {
  const Graph narrow = build("lesa_resnet50");
  EXPECT_EQ(narrow.parameters().size(), 568U);
  EXPECT_EQ(count(narrow, "layer1.").parameters, 215'808);
  EXPECT_EQ(count(narrow, "layer2.").parameters, 1'219'584);
  EXPECT_EQ(count(narrow, "layer3.").parameters, 6'624'688);
  EXPECT_EQ(count(narrow, "layer3.0.").parameters, 1'512'448);
  EXPECT_EQ(count(narrow, "layer3.5.").parameters, 1'022'448);
  EXPECT_EQ(count(narrow, "layer3.1.conv2.").parameters, 495'600);
  EXPECT_EQ(count(narrow, "layer4.").parameters, 13'658'896);
  EXPECT_EQ(count(narrow, "layer4.2.conv2.").parameters, 1'925'040);
  EXPECT_EQ(count(narrow, "fc.").parameters, 2'049'000);
  const Graph wide = build("lesa_wrn50");
  EXPECT_EQ(count(wide, "layer3.").parameters, 18'559'600);
  EXPECT_EQ(count(wide, "layer4.0.").parameters, 12'838'704);
  EXPECT_EQ(count(wide, "layer4.2.conv2.").parameters, 7'585'584);
}

}  // namespace
}  // namespace facet::zoo
