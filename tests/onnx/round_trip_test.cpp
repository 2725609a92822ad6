#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "passes/prepared.h"
#include "runtime/compile.h"
#include "runtime/weights.h"
#include "tests/onnx/onnx_case.h"
#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"
#include "tests/support/fill.h"
#include "tests/support/op_samples.h"
#include "zoo/zoo.h"

// Networks of the zoo, written and read again: the same graph but for names, and the passes find in
// it what they find in the declared one.

namespace facet {
namespace {

using testing::Folder;

struct ZooNetwork {
  std::string model;
  std::map<std::string, std::string> settings;
  std::vector<int> opsets = {13, 17, 22};
};

/// All models and every option that changes the structure. Deep networks repeat what shallow ones have,
/// so one opset is enough for them.
std::vector<ZooNetwork> networks() {
  return {{"lscnn", {}},
          {"dcr", {}, {17}},
          {"dcr", {{"branch", "1"}, {"backbone", "NewDCRTrunk"}, {"use_bn", "true"}}},
          {"dcr", {{"branch", "trunk"}, {"normalized_embeddings", "true"}}, {17}},
          {"arcface_iresnet18", {}},
          {"arcface_iresnet34", {}, {17}},
          {"arcface_iresnet50", {}, {17}},
          {"arcface_iresnet100", {}, {17}},
          {"arcface_iresnet200", {}, {17}},
          {"mla_iresnet18", {}},
          {"mla_iresnet18", {{"clamp", "false"}, {"shared_bn", "false"}}, {17}},
          {"mla_iresnet34", {}, {17}},
          {"mla_iresnet50", {}, {17}},
          {"mla_iresnet100", {}, {17}},
          {"mla_iresnet200", {}, {17}},
          {"lesa_resnet50", {}},
          {"lesa_resnet50", {{"pe_type", "detection_qr"}}},
          {"lesa_resnet50", {{"lesa", "false"}}, {17}},
          {"lesa_wrn50", {}, {17}},
          {"lscnn_small", {}},
          {"dcr_small", {}},
          {"mla_small", {}},
          {"lesa_small", {}},
          {"lesa_small", {{"pe_type", "detection_qr"}}}};
}

using Counts = std::map<std::string, std::map<std::string, int>>;

/// What the optimisation passes make of a graph, as tests/golden/pass_counts.json counts it.
Counts counts_of(const Graph& given) {
  Graph graph = given.clone();
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
    if (remark.kind == Remark::Kind::applied)
      ++counts["patterns"][remark.pass + ": " + remark.pattern];
  }
  return counts;
}

TEST(OnnxRoundTrip, LeavesNoModelOut) {
  std::set<std::string> covered;
  for (const ZooNetwork& network : networks()) covered.insert(network.model);
  for (const zoo::ModelSpec& model : zoo::models()) EXPECT_TRUE(covered.contains(std::string(model.name)));
}

TEST(OnnxRoundTrip, ZooNetworksComeBackAsTheyWere) {
  Folder folder;
  for (const ZooNetwork& network : networks()) {
    const Graph graph = zoo::build(network.model, network.settings);
    const TensorMap weights = random_weights(graph, 1);
    const Counts declared = counts_of(graph);
    for (const int opset : network.opsets) {
      std::string title = network.model + " opset " + std::to_string(opset);
      for (const auto& [key, value] : network.settings) title += " " + key + "=" + value;
      SCOPED_TRACE(title);
      OnnxExportOptions options;
      options.opset = opset;
      export_onnx(graph, weights, folder / "m.onnx", options);
      const ImportedModel model = import_onnx(folder / "m.onnx");
      EXPECT_TRUE(testing::same_network(graph, model.graph));
      if (opset == 17) {
        EXPECT_EQ(counts_of(model.graph), declared);
      }
      for (const auto& [key, tensor] : model.weights) {
        ASSERT_EQ(testing::max_difference(tensor, weights.at(key)), 0) << key;
      }
    }
  }
}

/// What must not depend on where a network comes from.
std::vector<std::int64_t> figures(const ProgramInfo& program) {
  return {static_cast<std::int64_t>(program.steps.size()), program.reorders, program.concat_slices,
          program.concat_copies, program.arena_bytes};
}

TEST(OnnxRoundTrip, ProgramsOfTheCpuAreTheSame) {
  Folder folder;
  for (const char* name : {"lscnn", "dcr", "arcface_iresnet18", "mla_iresnet18", "lesa_small"}) {
    SCOPED_TRACE(name);
    const Graph graph = zoo::build(name);
    const TensorMap weights = trial_weights(graph, 1);
    export_onnx(graph, weights, folder / "m.onnx");
    const ImportedModel model = import_onnx(folder / "m.onnx");
    const auto declared = compile(graph, weights, {}, 1);
    const auto imported = compile(model.graph, model.weights, {}, 1);
    EXPECT_EQ(figures(imported->program(1)), figures(declared->program(1)));
    const TensorMap inputs = testing::fill_inputs(graph, 1);
    const TensorMap expected = declared->make_context()->run(inputs);
    const TensorMap found = imported->make_context()->run(inputs);
    for (const auto& [output, values] : expected) {
      EXPECT_EQ(testing::max_difference(values, found.at(output)), 0) << output;
    }
  }
}

}  // namespace
}  // namespace facet
