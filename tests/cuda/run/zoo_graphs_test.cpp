#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <variant>

#include "backends/cuda/convolution.h"
#include "backends/cuda/cublaslt.h"
#include "backends/cuda/lowering.h"
#include "passes/prepared.h"
#include "passes/vector_jacobian.h"
#include "tests/cuda/run/cuda_run.h"
#include "tests/cuda/run/zoo_program.h"
#include "zoo/blocks/transformer_block.h"
#include "zoo/zoo.h"

// Every convolution, batch norm, pooling, attention and product of the zoo, forward and in
// training, in f32, bf16 and f16, as the backend lowers it for an H200: its cuDNN graphs finalise
// and have an engine each, or there are kernels for it; cuBLASLt takes its products. In f32 the
// engines are those that keep every bit, which tf32 may use as well. What there is per network is
// in tests/golden/cuda_graphs.json, for one release of cuDNN: what is fused depends on its engines.
// An attention that neither cuDNN nor a kernel computes is not there: it became products and a
// softmax. FACET_UPDATE_GOLDEN=1 writes the file anew.
namespace facet {
namespace {

constexpr std::int64_t kBatch = 32;

/// One of each kind: the deeper networks repeat their blocks. The last is no network but the block
/// of a vision transformer.
const std::vector<std::string>& networks() {
  static const std::vector<std::string> names{
      "lscnn", "dcr", "arcface_iresnet18", "mla_iresnet18", "lesa_resnet50", "transformer_block"};
  return names;
}

Graph build(const std::string& name) {
  if (name != "transformer_block") return zoo::build(name);
  Network network(name);
  const Tensor x = network.input("x", {"N", 197, 512});
  network.output("y", zoo::transformer_block(network.root() / "block", x));
  return network.finish();
}

/// In training: outputs' cotangents to the gradients of everything.
Graph network_of(const std::string& name, bool trains) {
  Graph graph = build(name);
  if (!trains) return graph;
  graph = graph.with_symbol(graph.symbols().at(0), kBatch);
  std::vector<std::string> outputs;
  for (const Output& output : graph.outputs()) outputs.push_back(output.name);
  return vector_jacobian_product(graph, outputs);
}

/// Those of lowering.cpp that have a part in libraries; all others are generated kernels
/// throughout.
const std::set<std::string_view>& families() {
  static const std::set<std::string_view> names{
      "convolution",       "matmul", "batch norm", "pooling", "attention", "relative attention",
      "attention gradient"};
  return names;
}

using Counts = std::map<std::string, int>;

/// What is counted of one network in one precision; `all` of what no other network had.
struct Plans {
  Counts& counts;
  std::set<std::string>& distinct;
  Counts& all;

  void count(const cuda::OperationGraph& graph) {
    const std::vector<cuda::Engine> engines = test::h200_planner().engines(graph, {});
    EXPECT_FALSE(engines.empty()) << to_text(graph);
    if (!distinct.insert(to_text(graph)).second) return;
    ++all["graphs"];
    all["engines"] += static_cast<int>(engines.size());
    all["compiled at run time"] += std::ranges::all_of(
        engines, [](const cuda::Engine& engine) { return engine.compiles_at_run_time; });
  }
  void count(const cuda::KernelSource& kernel) {
    all["kernels"] += distinct.insert(kernel.text).second ? 1 : 0;
  }
  void count(const cuda::Matmul& product) {
    if (!distinct.insert(to_text(product)).second) return;
    ++all["products"];
    EXPECT_NO_THROW(cuda::check_matmul(product));
  }
  void count(const cuda::UpdateKernel&) { ADD_FAILURE() << "an update belongs to none of these"; }
};

std::vector<View> dense_views(std::span<const Type> types) {
  std::vector<View> views;
  for (const Type& type : types) views.push_back(dense_view(type));
  return views;
}

/// Lowers each node of these families that runs.
void plan_all(const Graph& graph, const cuda::LoweringContext& context, Plans& plans) {
  plans.counts["rounded sums"] = 0;
  const PreparedSet prepared(graph);
  for (const Node* node : graph.node_list()) {
    if (prepared.contains(node)) continue;
    const cuda::LoweringFamily* const family = cuda::find_family(context, *node);
    if (family == nullptr || !families().contains(family->name)) continue;
    SCOPED_TRACE(fmt::format("{} '{}'", node->kind(), node->provenance().scope));
    std::vector<Type> operands;
    for (const Value& value : node->operands()) operands.push_back(value.type());
    const cuda::Lowered lowered =
        family->lower(context, *node, dense_views(operands), dense_views(node->result_types()));
    bool has_library = false;
    for (const cuda::Launch& launch : lowered.launches) {
      has_library |= !std::holds_alternative<cuda::KernelSource>(launch);
      std::visit([&](const auto& one) { plans.count(one); }, launch);
    }
    EXPECT_FALSE(lowered.launches.empty());
    ++plans.counts[std::string(node->kind()) + (has_library ? "" : " by kernels")];
    if (family->name != "convolution") continue;
    const cuda::ConvolutionPlan plan =
        cuda::plan_convolution(context.planner, *node, context.rules);
    plans.counts["rounded sums"] += plan.sums == cuda::WeightSums::rounded ? 1 : 0;
  }
}

TEST(ZooGraphs, EveryNodeHasAnEngineOrKernelsOnAnH200) {
  const auto driver = std::make_shared<test::FakeDriver>();
  const auto backend = test::fake_cuda_backend(driver);
  const cuda::LoweringContext context{test::h200_planner(), *driver, {}};
  std::map<std::string, Counts> found;
  std::map<std::string, Counts> all;  // not golden: cuDNN's releases differ
  std::map<std::string, std::set<std::string>> distinct;
  for (const std::string& name : networks()) {
    for (const bool trains : {false, true}) {
      const Graph network = network_of(name, trains);
      for (const Precision way : {Precision::f32, Precision::bf16, Precision::f16}) {
        const std::string precision(to_string(way));
        const std::string title =
            fmt::format("{} {} {}", name, precision, trains ? "training" : "inference");
        SCOPED_TRACE(title);
        const Graph program = test::program_of(network.clone(), way, kBatch, *backend);
        Plans plans{found[title], distinct[precision], all[precision]};
        ASSERT_NO_THROW(plan_all(program, context, plans));
      }
    }
  }
  for (auto& [precision, counts] : all) {
    std::printf(
        "%s: %d distinct graphs, %d engines; %d graphs have only engines that compile at run "
        "time; %d distinct kernels, %d distinct products\n",
        precision.c_str(), counts["graphs"], counts["engines"], counts["compiled at run time"],
        counts["kernels"], counts["products"]);
  }
  const std::string release = "cuDNN " + cuda::cudnn_version();
  found[release];
  const std::string path = (testing::test_data() / "golden/cuda_graphs.json").string();
  if (std::getenv("FACET_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << nlohmann::json(found).dump(1) << "\n";
    GTEST_SKIP() << "wrote " << path;
  }
  std::ifstream file(path);
  ASSERT_TRUE(file) << "cannot read " << path;
  const auto expected = nlohmann::json::parse(file).get<decltype(found)>();
  if (!expected.contains(release)) GTEST_SKIP() << "the golden numbers are not of " << release;
  EXPECT_EQ(found, expected);
}

}  // namespace
}  // namespace facet
