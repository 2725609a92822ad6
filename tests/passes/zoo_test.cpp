#include "zoo/zoo.h"

#include <gtest/gtest.h>

#include <cctype>
#include <map>
#include <string>
#include <vector>

#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using Settings = std::map<std::string, std::string>;

struct ZooNetwork {
  std::string name;
  std::string model;
  Settings settings;
};
void PrintTo(const ZooNetwork& network, std::ostream* out) { *out << network.name; }

std::string family_of(std::string name) {
  while (!name.empty() && std::isdigit(static_cast<unsigned char>(name.back())) != 0) name.pop_back();
  return name;
}

/// Few classes and one block per stage: the structure stays, the arithmetic shrinks.
Settings small(const zoo::ModelSpec& spec) {
  Settings settings;
  for (const auto& option : spec.options) {
    if (option.name == "num_classes") settings["num_classes"] = "16";
    if (option.name == "layers") {
      std::string layers;
      for (const char c : option.default_value) layers += c == ',' ? ',' : '1';
      settings["layers"] = layers;
    }
  }
  return settings;
}

/// The first model of each family, which is the shallowest, and the variants of dcr.
std::vector<ZooNetwork> networks() {
  std::vector<ZooNetwork> list;
  std::map<std::string, int> families;
  for (const zoo::ModelSpec& spec : zoo::models()) {
    if (families[family_of(spec.name)]++ == 0) list.push_back({spec.name, spec.name, small(spec)});
  }
  Settings detection = small(zoo::find_model("lesa_resnet50"));
  detection["pe_type"] = "detection_qr";
  list.push_back({"lesa_detection", "lesa_resnet50", detection});
  Settings dcr = small(zoo::find_model("dcr"));
  dcr["num_scales"] = "3";
  for (const auto& [name, changes] : std::vector<std::pair<std::string, Settings>>{
           {"dcr_branch", {{"branch", "1"}}},
           {"dcr_trunk", {{"branch", "trunk"}}},
           {"dcr_new_trunk", {{"backbone", "NewDCRTrunk"}, {"branch", "0"}}},
           {"dcr_without_bn", {{"backbone", "NewDCRTrunk"}, {"use_bn", "false"}}},
           {"dcr_normalized", {{"normalized_embeddings", "true"}, {"branch", "2"}}}}) {
    Settings settings = changes;
    settings.insert(dcr.begin(), dcr.end());
    list.push_back({name, "dcr", settings});
  }
  return list;
}

class ZooPasses : public ::testing::TestWithParam<ZooNetwork> {};

TEST_P(ZooPasses, ThePipelineKeepsTheOutputs) {
  const Graph original = zoo::build(GetParam().model, GetParam().settings);
  const testing::FakeTarget target;
  PassContext context;
  context.target = &target;
  context.evaluate = testing::reference_evaluator();
  Graph graph = original.clone();
  run_pipeline(graph, optimization_pipeline(), context);
  EXPECT_LE(testing::worst_difference(testing::evaluate_filled(original, 1),
                                      testing::evaluate_filled(graph, 1)),
            1e-9);
  for (Node* node : graph.node_list()) {
    EXPECT_FALSE(node->is("batch_norm")) << node->provenance().scope << " was not folded or lowered";
  }
  for (const PassReport& report : run_pipeline(graph, optimization_pipeline(), context)) {
    EXPECT_FALSE(report.changed) << report.name << " found more to do in a second run";
  }
}

INSTANTIATE_TEST_SUITE_P(Zoo, ZooPasses, ::testing::ValuesIn(networks()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace facet
