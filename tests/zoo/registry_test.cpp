#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "ir/error.h"
#include "zoo/zoo.h"

namespace facet::zoo {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// The message of the usage error `call` throws; empty if it throws none.
template <class Call>
std::string usage_message(Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return {};
}

std::string build_message(std::string_view name,
                          const std::map<std::string, std::string>& settings) {
  return usage_message([&] { build(name, settings); });
}

TEST(Registry, ListsEveryModelOnce) {
  std::set<std::string> names;
  for (const ModelSpec& model : models()) names.insert(model.name);
  const std::set<std::string> expected = {"lscnn",
                                          "dcr",
                                          "arcface_iresnet18",
                                          "arcface_iresnet34",
                                          "arcface_iresnet50",
                                          "arcface_iresnet100",
                                          "arcface_iresnet200",
                                          "mla_iresnet18",
                                          "mla_iresnet34",
                                          "mla_iresnet50",
                                          "mla_iresnet100",
                                          "mla_iresnet200",
                                          "lesa_resnet50",
                                          "lesa_wrn50",
                                          "lscnn_small",
                                          "dcr_small",
                                          "mla_small",
                                          "lesa_small"};
  EXPECT_EQ(names, expected);
  EXPECT_EQ(models().size(), expected.size());
}

TEST(Registry, EverySpecSaysWhatItsGraphHas) {
  for (const ModelSpec& model : models()) {
    const Graph graph = build(model.name);
    EXPECT_EQ(graph.name(), model.name);
    EXPECT_FALSE(model.doc.empty());
    EXPECT_EQ(to_string(graph.inputs()[0]->result().shape()),
              "[N, 3, " + std::to_string(model.height) + ", " + std::to_string(model.width) + "]");
    std::set<std::string> documented;
    for (const OutputSpec& output : model.outputs) documented.insert(output.name);
    for (const Output& output : graph.outputs()) EXPECT_TRUE(documented.contains(output.name));
    for (const OptionSpec& option : model.options) EXPECT_FALSE(option.doc.empty()) << option.name;
  }
}

TEST(Registry, DefaultsSpeltOutChangeNothing) {
  for (const ModelSpec& model : models()) {
    std::map<std::string, std::string> defaults;
    for (const OptionSpec& option : model.options) defaults[option.name] = option.default_value;
    EXPECT_EQ(fingerprint(build(model.name, defaults)), fingerprint(build(model.name)))
        << model.name;
  }
}

TEST(RegistryErrors, UnknownModel) {
  EXPECT_THAT(build_message("lscn", {}),
              AllOf(HasSubstr("unknown model 'lscn'"), HasSubstr("did you mean 'lscnn'"),
                    HasSubstr("mla_iresnet200")));
  EXPECT_THAT(build_message("mla_iresnet51", {}), HasSubstr("did you mean 'mla_iresnet50'"));
}

TEST(RegistryErrors, UnknownOption) {
  EXPECT_THAT(build_message("dcr", {{"num_clases", "64"}}),
              AllOf(HasSubstr("dcr has no option 'num_clases'"),
                    HasSubstr("did you mean 'num_classes'"), HasSubstr("normalized_embeddings")));
  EXPECT_THAT(build_message("arcface_iresnet18", {{"clamp", "true"}}),
              AllOf(HasSubstr("has no option 'clamp'"), HasSubstr("embedding_size")));
}

TEST(RegistryErrors, ValueOfTheWrongKind) {
  for (const char* value : {"many", "", "3.5", "12x", "0", "-1", "99999999999999999999"}) {
    EXPECT_THAT(build_message("lscnn", {{"num_classes", value}}),
                HasSubstr("lscnn: num_classes='" + std::string(value) +
                          "' is not an integer of at least 1"));
  }
  EXPECT_THAT(build_message("dcr", {{"use_bn", "yes"}}),
              HasSubstr("dcr: use_bn='yes' is not true or false"));
  EXPECT_THAT(build_message("dcr", {{"backbone", "NewDcrTrunk"}}),
              AllOf(HasSubstr("backbone='NewDcrTrunk' is not DCRTrunk, NewDCRTrunk"),
                    HasSubstr("did you mean 'NewDCRTrunk'")));
  EXPECT_THAT(build_message("dcr", {{"branch", "trnk"}}),
              AllOf(HasSubstr("branch='trnk' is not an integer of at least 0, trunk or all"),
                    HasSubstr("did you mean 'trunk'")));
  EXPECT_THAT(build_message("dcr", {{"layers", "1,2,,3"}}),
              HasSubstr("layers='1,2,,3' is not integers between commas"));
}

TEST(RegistryErrors, OptionsOutOfRangeOrInContradiction) {
  EXPECT_THAT(build_message("lscnn", {{"input_size", "112"}}),
              AllOf(HasSubstr("lscnn: input_size=112"), HasSubstr("127 to 142"), HasSubstr("7x7")));
  EXPECT_THAT(build_message("lscnn", {{"layers", "3,3"}}), HasSubstr("three positive numbers"));
  EXPECT_THAT(build_message("dcr", {{"num_scales", "3"}, {"branch", "3"}}),
              AllOf(HasSubstr("no branch 3"), HasSubstr("0 to 2"), HasSubstr("branch=trunk")));
  EXPECT_THAT(build_message("dcr", {{"use_bn", "false"}}),
              AllOf(HasSubstr("backbone=NewDCRTrunk"), HasSubstr("DCRTrunk cannot")));
  EXPECT_THAT(build_message("dcr", {{"backbone", "ResNet-50"}, {"layers", "1,1,1,1"}}),
              HasSubstr("ResNet-50 has its own"));
  EXPECT_THAT(build_message("dcr", {{"layers", "1,2,0,3"}}), HasSubstr("four positive numbers"));
  EXPECT_THAT(build_message("dcr", {{"input_size", "8"}}), HasSubstr("use 16 or more"));
}

}  // namespace
}  // namespace facet::zoo
