#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "backends/cuda/lowering.h"
#include "ir/layout.h"
#include "ir/op.h"
#include "passes/prepared.h"
#include "tests/cuda/run/cuda_run.h"
#include "tests/cuda/run/zoo_program.h"
#include "training/step.h"
#include "zoo/zoo.h"

// Who runs what: every kind of step of the zoo's compiled programs, inference and training, with
// the family of lowering.cpp that it belongs to, in tests/golden/cuda_families.json. "reorders" are
// those of the family "copy" once more, by what stands before and behind them.
// FACET_UPDATE_GOLDEN=1 writes it anew.
namespace facet {
namespace {

constexpr std::int64_t kBatch = 32;

/// As `facet bench --train` has it.
Graph training_step(Graph network) {
  StepOptions step;
  const auto& outputs = network.outputs();
  const bool has_logits = std::any_of(outputs.begin(), outputs.end(), [](const Output& output) {
    return output.name.ends_with("logits");
  });
  if (!has_logits) {
    step.loss.kind = LossOptions::Kind::margin;
    step.loss.classes = 1000;
  }
  step.batch = kBatch;
  return make_training_step(std::move(network), step);
}

/// Between what a reorder stands: "conv to reshape"; "the same bytes" for one that moves none.
std::string reason_of(const Node& reorder) {
  const Type& from = reorder.operand(0).type();
  const Type& to = reorder.result_types()[0];
  if (same_strides(static_extents(to.shape), dense_strides(from), dense_strides(to))) {
    return "the same bytes";
  }
  const auto& uses = reorder.uses(0);
  return fmt::format("{} to {}", reorder.operand(0).node->kind(),
                     uses.empty() ? "output" : uses.front().node->kind());
}

/// Family -> kind of step -> how many.
using Families = std::map<std::string, std::map<std::string, int>>;

Families families_of(const Graph& graph, const cuda::LoweringContext& context) {
  Families found;
  const PreparedSet prepared(graph);
  for (const Node* node : graph.node_list()) {
    if (prepared.contains(node) || node->is("input") || is_state(*node)) continue;
    const cuda::LoweringFamily* const family = cuda::find_family(context, *node);
    ++found[family != nullptr ? std::string(family->name) : "none"][std::string(node->kind())];
    if (node->is("reorder")) ++found["reorders"][reason_of(*node)];
  }
  return found;
}

TEST(ZooFamilies, EveryStepHasOne) {
  const auto driver = std::make_shared<test::FakeDriver>();
  const auto backend = test::fake_cuda_backend(driver);
  std::map<std::string, Families> found;
  for (const std::string name :
       {"lscnn", "dcr", "arcface_iresnet18", "mla_iresnet18", "lesa_resnet50"}) {
    for (const bool trains : {false, true}) {
      for (const bool bf16 : {false, true}) {
        const std::string title =
            name + (bf16 ? " bf16" : " f32") + (trains ? " training" : " inference");
        Graph network = zoo::build(name);
        if (trains) network = training_step(std::move(network));
        const Graph program = test::program_of(
            std::move(network), bf16 ? Precision::bf16 : Precision::f32, kBatch, *backend);
        found[title] = families_of(program, {test::h200_planner(), *driver, {}});
        EXPECT_FALSE(found[title].contains("none")) << title;
      }
    }
  }
  const std::string path = (testing::test_data() / "golden/cuda_families.json").string();
  if (std::getenv("FACET_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << nlohmann::json(found).dump(1) << "\n";
    GTEST_SKIP() << "wrote " << path;
  }
  if (cuda::cudnn_version() != "9.19.0") {
    GTEST_SKIP() << "what is fused depends on cuDNN's engines, and the golden file is of 9.19.0";
  }
  std::ifstream file(path);
  ASSERT_TRUE(file) << "cannot read " << path;
  EXPECT_EQ(nlohmann::json(found).dump(1), nlohmann::json::parse(file).dump(1));
}

}  // namespace
}  // namespace facet
