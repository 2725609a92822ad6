#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "backends/cuda/attention.h"
#include "backends/cuda/convolution.h"
#include "backends/cuda/kernels/attention_gradient.h"
#include "backends/cuda/kernels/batch_norm.h"
#include "backends/cuda/kernels/batch_norm_apply.h"
#include "backends/cuda/kernels/copy.h"
#include "backends/cuda/kernels/dropout.h"
#include "backends/cuda/kernels/elementwise.h"
#include "backends/cuda/kernels/gate.h"
#include "backends/cuda/kernels/labels.h"
#include "backends/cuda/kernels/layer_norm.h"
#include "backends/cuda/kernels/pooling.h"
#include "backends/cuda/kernels/prelu.h"
#include "backends/cuda/kernels/reduce_max.h"
#include "backends/cuda/kernels/reduction.h"
#include "backends/cuda/kernels/relative_attention.h"
#include "backends/cuda/kernels/single_update.h"
#include "backends/cuda/kernels/softmax.h"
#include "backends/cuda/kernels/update.h"
#include "backends/cuda/matmul.h"
#include "passes/pass.h"
#include "passes/prepared.h"
#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"
#include "tests/support/paths.h"
#include "training/recipe.h"
#include "training/step.h"
#include "training/step_setup.h"
#include "zoo/recipes.h"
#include "zoo/zoo.h"

// Which family of the GPU backend has each kind of op that the zoo's networks are made of, in
// inference and in the training step of a recipe, behind all passes and in bf16; and that every
// kernel of the families that generate them can be made. In tests/golden/cuda_coverage.json "none"
// is what is missing. FACET_UPDATE_GOLDEN=1 writes it anew.
namespace facet {
namespace {

using cuda::KernelSequence;
using Views = std::span<const View>;

struct Family {
  const char* name;
  std::function<bool(const Node&)> has;
  /// Its kernels for a node; null where a library has them.
  std::function<KernelSequence(const Node&, Views operands, Views results)> make = nullptr;
};

bool is_one_of(const Node& node, std::initializer_list<const char*> kinds) {
  for (const char* kind : kinds) {
    if (node.is(kind)) return true;
  }
  return false;
}

const std::vector<Family>& families() {
  static const std::vector<Family> list{
      {"leaf",
       [](const Node& node) {
         return is_one_of(node, {"input", "parameter", "constant"});
       }},
      {"convolution", [](const Node& node) { return cuda::is_convolution(node); }},
      {"batch norm", cuda::is_batch_norm, cuda::batch_norm_kernels},
      {"matmul", cuda::is_matmul,
       [](const Node& node, Views x, Views y) {
         cuda::MatmulPlan plan = cuda::matmul_plan(node, x, y, {});
         EXPECT_FALSE(plan.products.empty());
         return KernelSequence{std::move(plan.before), plan.scratch_bytes};
       }},
      {"pooling", cuda::is_pooling, cuda::pooling_kernels},
      {"attention", [](const Node& node) { return cuda::attention_refusal(node).empty(); }},
      {"softmax",
       [](const Node& node) {
         return is_one_of(node, {"softmax", "softmax_bwd"});
       },
       [](const Node& node, Views x, Views y) {
         return KernelSequence{{cuda::softmax_kernel(node, x, y[0])}, 0};
       }},
      {"elementwise", cuda::is_elementwise,
       [](const Node& node, Views x, Views y) {
         return KernelSequence{{cuda::elementwise_kernel(node, x, y[0])}, 0};
       }},
      {"reduction", cuda::is_reduction,
       [](const Node& node, Views x, Views y) {
         return cuda::reduction_kernels(node, x[0], y[0]);
       }},
      {"update", cuda::is_update,
       [](const Node& node, Views, Views) {
         const Node* const one = &node;
         return KernelSequence{{cuda::update_kernel({&one, 1}).kernel}, 0};
       }},
      {"single_update", cuda::is_single_update,
       [](const Node& node, Views, Views) { return cuda::single_update_kernels(node); }},
      {"gate", cuda::is_gate,
       [](const Node& node, Views x, Views y) { return cuda::gate_kernels(node, x, y[0]); }},
      {"copy", cuda::is_copy,
       [](const Node& node, Views x, Views y) { return cuda::copy_kernels(node, x, y[0]); }},
      {"labels", cuda::is_labels, cuda::labels_kernels},
      {"prelu", cuda::is_prelu_bwd, cuda::prelu_bwd_kernels},
      {"reduce_max", cuda::is_reduce_max_bwd,
       [](const Node& node, Views x, Views y) {
         return cuda::reduce_max_bwd_kernels(node, x, y[0]);
       }},
      {"dropout", cuda::is_dropout,
       [](const Node& node, Views x, Views y) { return cuda::dropout_kernels(node, x, y[0]); }},
      {"layer_norm", cuda::is_layer_norm,
       [](const Node& node, Views x, Views y) { return cuda::layer_norm_kernels(node, x, y[0]); }},
      {"batch_norm_apply", cuda::is_batch_norm_apply,
       [](const Node& node, Views x, Views y) {
         return cuda::batch_norm_apply_kernels(node, x, y[0]);
       }},
      {"relative_attention", cuda::is_relative_attention,
       [](const Node& node, Views x, Views y) {
         return cuda::relative_attention_kernels(node, x, y[0]);
       }},
      {"attention_gradient", cuda::is_attention_gradient, [](const Node& node, Views x, Views y) {
         return cuda::attention_gradient_kernels(node, x, y);
       }}};
  return list;
}

struct Case {
  const char* network;
  const char* recipe;
};

const Case kCases[] = {{"lscnn", "lscnn_webface"},
                       {"dcr", "dcr_trunk"},
                       {"dcr", "dcr_branch"},
                       {"arcface_iresnet18", "arcface_r50"},
                       {"mla_iresnet18", "mla_r18_ms1mv2"},
                       {"lesa_resnet50", "lesa_resnet50_imagenet"}};

RecipeText recipe_of(const std::string& name, const std::string&) {
  return {std::string(zoo::recipe_text(name)), name};
}

/// Behind the passes and in bf16, for a device that has everything but wide convolutions of
/// branches.
void optimize(Graph& graph) {
  testing::FakeTarget target;
  target.supported = [](const Node& node) {
    const bool keeps_weights =
        (node.is("sdpa") || node.is("sdpa_bwd")) && node.attributes().boolean("weights");
    return !keeps_weights && !node.is("conv_branches") && !node.is("score_moments") &&
           !node.is("score_moments_bwd");
  };
  target.takes_entry = [](const Node& node, std::string_view entry, const Type* extra) {
    return !node.is("linear") || cuda::matmul_takes_entry(node, entry, extra);
  };
  target.layouts = [](const Node& node) {
    if (cuda::is_convolution(node)) return cuda::convolution_layouts(node);
    if (cuda::is_gate(node)) return cuda::gate_layouts(node);
    if (cuda::attention_refusal(node).empty()) return cuda::attention_layouts(node);
    if (cuda::is_relative_attention(node)) return cuda::relative_attention_layouts(node);
    if (cuda::is_attention_gradient(node)) return cuda::attention_gradient_layouts(node);
    return LayoutChoice{std::vector<Layout>(static_cast<std::size_t>(node.operand_count())),
                        std::vector<Layout>(static_cast<std::size_t>(node.result_count()))};
  };
  PassContext context;
  context.target = &target;
  context.evaluate = testing::reference_evaluator();
  PipelineOptions options;
  options.verify = options.check_claims = false;  // the passes have tests of their own
  std::vector<Pass> passes = optimization_pipeline();
  passes.push_back(find_pass("lower-to-bf16"));
  passes.push_back(find_pass("decompose-unsupported"));
  for (const Pass& pass : layout_pipeline()) passes.push_back(pass);
  run_pipeline(graph, passes, context, options);
}

using Kinds = std::map<std::string, std::string>;

/// Makes the node's kernels and counts them.
void generate(const Family& family, const Node& node, int& all, std::set<std::string>& distinct) {
  std::vector<View> operands, results;
  for (const Value& value : node.operands()) operands.push_back(dense_view(value.type()));
  for (const Type& type : node.result_types()) results.push_back(dense_view(type));
  for (const cuda::KernelSource& kernel : family.make(node, operands, results).kernels) {
    ++all;
    distinct.insert(kernel.text);
  }
}

Kinds kinds_of(const Graph& graph) {
  const PreparedSet prepared(graph);
  Kinds kinds;
  int kernels = 0;
  std::set<std::string> distinct;
  for (const Node* node : graph.node_list()) {
    if (prepared.contains(node)) continue;
    const auto family =
        std::ranges::find_if(families(), [&](const Family& f) { return f.has(*node); });
    const std::string found = family == families().end() ? "none" : family->name;
    if (found == "leaf") continue;
    std::string& entry = kinds[std::string(node->kind())];
    if (entry.find(found) == std::string::npos) entry += (entry.empty() ? "" : ", ") + found;
    if (family == families().end() || !family->make) continue;
    EXPECT_NO_THROW(generate(*family, *node, kernels, distinct))
        << graph.name() << ": " << node->kind() << " of " << to_string(node->operand(0).type());
  }
  kinds["(generated kernels)"] =
      std::to_string(kernels) + ", " + std::to_string(distinct.size()) + " distinct";
  return kinds;
}

TEST(CudaCoverage, EveryKindOfTheZooHasAFamily) {
  std::map<std::string, Kinds> found;
  for (const Case& c : kCases) {
    const Recipe recipe = parse_recipe(zoo::recipe_text(c.recipe), c.recipe,
                                       {"data.train=none", "model.init=none"}, recipe_of);
    const Graph network = zoo::build(c.network, recipe.model.settings);
    Graph inference = network.clone();
    inference = inference.with_symbol(inference.symbols().at(0), 8);
    optimize(inference);
    found[std::string(c.network) + " inference, " + c.recipe] = kinds_of(inference);
    StepOptions options = step_options(recipe, 1000);
    options.batch = 8;
    Graph step = make_training_step(network.clone(), options);
    optimize(step);
    found[std::string(c.network) + " training, " + c.recipe] = kinds_of(step);
  }
  const std::string path = (testing::test_data() / "golden/cuda_coverage.json").string();
  if (std::getenv("FACET_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << nlohmann::json(found).dump(1) << "\n";
    GTEST_SKIP() << "wrote " << path;
  }
  std::ifstream file(path);
  ASSERT_TRUE(file) << "cannot read " << path;
  EXPECT_EQ(found, nlohmann::json::parse(file).get<decltype(found)>());
}

}  // namespace
}  // namespace facet
