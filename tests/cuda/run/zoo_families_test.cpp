#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "backends/cuda/lowering.h"
#include "ir/layout.h"
#include "ir/op.h"
#include "passes/pass.h"
#include "passes/prepared.h"
#include "tests/cuda/run/cuda_run.h"
#include "tests/passes/pass_case.h"
#include "training/step.h"
#include "zoo/zoo.h"

// Who runs what: every kind of step of the zoo's compiled programs, inference and training, with
// the family of lowering.cpp that it belongs to, in tests/golden/cuda_families.json. "none" are
// steps that have neither a kernel nor a plainer form: such a program does not run on the GPU yet.
// "reorders" are those of the family "copy" once more, by what stands before and behind them.
// FACET_UPDATE_GOLDEN=1 writes it anew.
namespace facet {
namespace {

constexpr std::int64_t kBatch = 32;

bool has_plainer_form(const Node& node) {
  if (node.op().decomposition.function() == nullptr) return false;
  Graph graph("alone");
  std::vector<Value> operands;
  for (const Value& value : node.operands()) {
    const std::string name = "x" + std::to_string(operands.size());
    operands.push_back(
        graph.create("input", {}, {{"name", name}, {"type", to_string(value.type())}})->result());
  }
  return decompose(graph, graph.create(node.op(), operands, node.attributes()));
}

/// The GPU backend, which lets pass what it has no kernel for.
class Lenient final : public Target {
 public:
  explicit Lenient(const Backend& backend) : backend_(backend) {}
  std::string_view name() const override { return backend_.name(); }
  bool supports(const Node& node) const override {
    return backend_.supports(node) || !has_plainer_form(node);
  }
  bool accepts_epilogue(const Node& node, std::string_view entry,
                        const Type* extra) const override {
    return backend_.accepts_epilogue(node, entry, extra);
  }
  LayoutChoice choose_layouts(const Node& node) const override {
    return backend_.choose_layouts(node);
  }
  Layout state_layout(const Type& type) const override { return backend_.state_layout(type); }
  bool writes_slices(const Node& node, int index) const override {
    return backend_.writes_slices(node, index);
  }
  bool reads_slices(const Node& node, int index) const override {
    return backend_.reads_slices(node, index);
  }
  std::int64_t address_alignment() const override { return backend_.address_alignment(); }

 private:
  const Backend& backend_;
};

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

/// Behind all passes, as the runtime runs them.
Graph compiled(const std::string& name, bool trains, bool bf16, const Target& target) {
  Graph graph = zoo::build(name);
  if (trains) graph = training_step(std::move(graph));
  PassContext context;
  context.target = &target;
  context.evaluate = testing::reference_evaluator();
  PipelineOptions options;
  options.verify = options.check_claims = false;  // the passes have tests of their own
  run_pipeline(graph, optimization_pipeline(), context, options);
  if (bf16) {
    find_pass("lower-to-bf16").run(graph, context);
    find_pass("eliminate-common-subexpressions").run(graph, context);
  }
  if (!graph.symbols().empty()) graph = graph.with_symbol(graph.symbols().front(), kBatch);
  run_pipeline(graph, layout_pipeline(), context, options);
  return graph;
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
  const Lenient target(*backend);
  std::map<std::string, Families> found;
  for (const std::string name :
       {"lscnn", "dcr", "arcface_iresnet18", "mla_iresnet18", "lesa_resnet50"}) {
    for (const bool trains : {false, true}) {
      for (const bool bf16 : {false, true}) {
        const std::string title =
            name + (bf16 ? " bf16" : " f32") + (trains ? " training" : " inference");
        found[title] =
            families_of(compiled(name, trains, bf16, target), {test::h200_planner(), *driver, {}});
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
