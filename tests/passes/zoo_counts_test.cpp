#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "passes/prepared.h"
#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"
#include "tests/support/paths.h"
#include "zoo/zoo.h"

// What the optimisation pipeline makes of the zoo, in tests/golden/pass_counts.json, for a target
// that takes every epilogue: per network the nodes that run by kind (`steps`), the nodes that only
// weights and constants decide by kind (`prepared`) and the applied rewrites by pass and pattern
// (`patterns`). The numbers move only when someone means them to: run the tests with
// FACET_UPDATE_GOLDEN=1 to write the file anew, and read the difference.

namespace facet {
namespace {

using Counts = std::map<std::string, std::map<std::string, int>>;

Counts counts_of(const std::string& model, const std::map<std::string, std::string>& settings) {
  Graph graph = zoo::build(model, settings);
  const testing::FakeTarget target;
  PassContext context;
  context.target = &target;
  context.evaluate = testing::reference_evaluator();
  run_pipeline(graph, optimization_pipeline(), context);
  Counts counts;
  const PreparedSet prepared(graph);
  for (Node* node : graph.node_list()) {
    if (node->is("input")) continue;
    ++counts[prepared.contains(node) ? "prepared" : "steps"][std::string(node->kind())];
  }
  for (const Remark& remark : context.remarks) {
    if (remark.kind == Remark::Kind::applied) ++counts["patterns"][remark.pass + ": " + remark.pattern];
  }
  return counts;
}

TEST(ZooCounts, EqualTheGoldenFile) {
  std::map<std::string, Counts> found;
  found["lscnn"] = counts_of("lscnn", {});
  found["dcr"] = counts_of("dcr", {});
  found["dcr_new_trunk"] = counts_of("dcr", {{"backbone", "NewDCRTrunk"}});
  for (const char* model :
       {"arcface_iresnet18", "arcface_iresnet100", "mla_iresnet18", "mla_iresnet100",
        "lesa_resnet50"}) {
    found[model] = counts_of(model, {});
  }
  const std::string path = (testing::test_data() / "golden/pass_counts.json").string();
  if (std::getenv("FACET_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << nlohmann::json(found).dump(1) << "\n";
    GTEST_SKIP() << "wrote " << path;
  }
  std::ifstream file(path);
  ASSERT_TRUE(file) << "cannot read " << path;
  const auto expected = nlohmann::json::parse(file).get<std::map<std::string, Counts>>();
  for (const auto& [name, counts] : found) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(expected.contains(name));
    EXPECT_EQ(counts, expected.at(name));
  }
  EXPECT_EQ(found.size(), expected.size());
}

}  // namespace
}  // namespace facet
