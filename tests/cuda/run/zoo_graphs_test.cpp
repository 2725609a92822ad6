#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "backends/cuda/attention.h"
#include "backends/cuda/batch_norm.h"
#include "backends/cuda/cublaslt.h"
#include "backends/cuda/device_views.h"
#include "backends/cuda/kernels/attention_gradient.h"
#include "backends/cuda/kernels/batch_norm.h"
#include "backends/cuda/kernels/pooling.h"
#include "backends/cuda/matmul.h"
#include "backends/cuda/pooling.h"
#include "passes/pass.h"
#include "passes/prepared.h"
#include "passes/vector_jacobian.h"
#include "tests/cuda/cuda_case.h"
#include "tests/passes/pass_case.h"
#include "zoo/blocks/transformer_block.h"
#include "zoo/zoo.h"

// Every convolution, batch norm, pooling, attention and product of the zoo, forward and in
// training, in f32, bf16 and f16: its cuDNN graphs finalise and an H200 has an engine for each, or
// there are kernels for it; cuBLASLt takes its products. In f32 the engines are those that keep
// every bit, which tf32 may use as well. What there is per network is in
// tests/golden/cuda_graphs.json, for one release of cuDNN: what is fused depends on its engines. An
// attention that cuDNN has no engine for is counted with the reason: in f32 it decomposes into
// products and a softmax, with tables of distances it has kernels of its own. FACET_UPDATE_GOLDEN=1
// writes the file anew.
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

/// Behind the passes for an H200.
Graph optimized(const std::string& name, bool trains) {
  Graph graph = build(name);
  graph = graph.with_symbol(graph.symbols().at(0), kBatch);
  if (trains) {
    std::vector<std::string> outputs;
    for (const Output& output : graph.outputs()) outputs.push_back(output.name);
    graph = vector_jacobian_product(graph, outputs);
  }
  const test::H200Target target({});
  PassContext context;
  context.target = &target;
  context.evaluate = testing::reference_evaluator();
  PipelineOptions options;
  options.verify = options.check_claims = false;  // the passes have tests of their own
  run_pipeline(graph, optimization_pipeline(), context, options);
  return graph;
}

void to_f16(Graph& graph) {
  for (Node* node : graph.node_list()) {
    for (int i = 0; i < node->result_count(); ++i) {
      Type type = node->result_types()[static_cast<std::size_t>(i)];
      if (type.dtype == DType::bf16) type.dtype = DType::f16;
      node->set_result_type(i, type);
    }
  }
}

using Counts = std::map<std::string, int>;

/// Counts a graph's engines unless an equal one was counted before. False if it has none.
bool count_graph(const cuda::OperationGraph& graph, std::set<std::string>& distinct, Counts& all) {
  const std::vector<cuda::Engine> engines = test::h200_planner().engines(graph, {});
  if (engines.empty() || !distinct.insert(to_text(graph)).second) return !engines.empty();
  ++all["graphs"];
  all["engines"] += static_cast<int>(engines.size());
  all["compiled at run time"] += std::ranges::all_of(
      engines, [](const cuda::Engine& engine) { return engine.compiles_at_run_time; });
  return true;
}

/// What is counted of one network in one precision.
struct Plans {
  Counts& counts;
  std::set<std::string>& distinct;
  Counts& all;

  /// Counts the node's graph if it has engines.
  bool takes(const Node& node, const std::optional<cuda::OperationGraph>& graph) {
    if (!graph || !count_graph(*graph, distinct, all)) return false;
    ++counts[std::string(node.kind())];
    return true;
  }
  void count_kernels(const Node& node, const cuda::KernelSequence& sequence) {
    ++counts[std::string(node.kind()) + " by kernels"];
    EXPECT_FALSE(sequence.kernels.empty());
    for (const cuda::KernelSource& kernel : sequence.kernels) {
      all["kernels"] += distinct.insert(kernel.text).second ? 1 : 0;
    }
  }
};

void plan_convolution(const Node& node, Plans& plans) {
  const cuda::ConvolutionPlan plan = cuda::plan_convolution(test::h200_planner(), node, {});
  plans.counts["rounded sums"] += plan.sums == cuda::WeightSums::rounded ? 1 : 0;
  for (const cuda::OperationGraph& part : plan.graphs) {
    EXPECT_TRUE(plans.takes(node, part));
  }
}

void plan_products(const Node& node, Plans& plans) {
  const cuda::MatmulPlan plan = cuda::matmul_plan(node, {});
  ++plans.counts[std::string(node.kind())];
  for (const cuda::Matmul& product : plan.products) {
    if (!plans.distinct.insert(to_text(product)).second) continue;
    ++plans.all["products"];
    EXPECT_NO_THROW(cuda::check_matmul(product));
  }
}

/// Attention's gradient: graphs, or kernels, or plain ops where neither has room for its heads.
void plan_gradient(const Node& node, Plans& plans) {
  const auto graphs = cuda::attention_gradient_graphs(node);
  if (graphs && plans.takes(node, graphs->forward)) {
    EXPECT_TRUE(plans.takes(node, graphs->backward));
    return;
  }
  if (!cuda::is_attention_gradient(node)) {
    ++plans.counts["sdpa_bwd " + node.provenance().scope + " left: it decomposes"];
    return;
  }
  std::vector<View> operands, results;
  const LayoutChoice layouts = cuda::attention_gradient_layouts(node);
  const auto lay = [](Type type, const Layout& layout) {
    type.layout = layout;
    return dense_view(type);
  };
  for (std::size_t i = 0; i < layouts.operands.size(); ++i) {
    operands.push_back(lay(node.operand(static_cast<int>(i)).type(), layouts.operands[i]));
  }
  for (std::size_t i = 0; i < layouts.results.size(); ++i) {
    results.push_back(lay(node.result_types()[i], layouts.results[i]));
  }
  plans.count_kernels(node, cuda::attention_gradient_kernels(node, operands, results));
}

/// Plans each node of these families that runs.
void plan_all(const Graph& graph, Plans& plans) {
  const PreparedSet prepared(graph);
  for (const Node* node : graph.node_list()) {
    if (prepared.contains(node)) continue;
    if (cuda::is_convolution(*node)) plan_convolution(*node, plans);
    if (cuda::is_batch_norm(*node) && !plans.takes(*node, cuda::batch_norm_graph(*node))) {
      plans.count_kernels(*node, cuda::batch_norm_kernels(*node, cuda::operand_views(*node),
                                                          cuda::result_views(*node)));
    }
    if (cuda::is_pooling(*node) && !plans.takes(*node, cuda::pooling_graph(*node))) {
      plans.count_kernels(*node, cuda::pooling_kernels(*node, cuda::operand_views(*node),
                                                       cuda::result_views(*node)));
    }
    if (node->is("sdpa")) {
      const bool taken = plans.takes(*node, cuda::attention_graph(*node));
      const std::string refusal = cuda::attention_refusal(*node);
      const std::string left = refusal.empty() ? "no engine" : refusal;
      ++plans.counts["sdpa " + node->provenance().scope + (taken ? "" : " left: " + left)];
    }
    if (node->is("sdpa_bwd")) plan_gradient(*node, plans);
    if (cuda::is_matmul(*node)) plan_products(*node, plans);
  }
}

TEST(ZooGraphs, EveryNodeHasAnEngineOrKernelsOnAnH200) {
  std::map<std::string, Counts> found;
  std::map<std::string, Counts> all;  // not golden: cuDNN's releases differ
  std::map<std::string, std::set<std::string>> distinct;
  for (const std::string& name : networks()) {
    for (const bool trains : {false, true}) {
      Graph graph = optimized(name, trains);
      for (const std::string precision : {"f32", "bf16", "f16"}) {
        PassContext context;
        if (precision == "bf16") find_pass("lower-to-bf16").run(graph, context);
        if (precision == "f16") to_f16(graph);
        Plans plans{found[name + " " + precision + (trains ? " training" : " inference")],
                    distinct[precision], all[precision]};
        ASSERT_NO_THROW(plan_all(graph, plans)) << name << " " << precision;
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
