#include "tests/support/random_graph.h"

#include <gtest/gtest.h>

#include "tests/passes/fake_target.h"
#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::Dice;
using testing::FakeTarget;

constexpr double kTolerance = 1e-10;
constexpr std::uint64_t kSeedsPerShard = 40;

/// A network and what the reference makes of it.
struct Case {
  explicit Case(std::uint64_t seed)
      : graph(testing::random_network(seed, 3 + static_cast<int>(seed % 16))),
        inputs(testing::fill_inputs(graph, 2)),
        parameters(testing::fill_parameters(graph)),
        expected(evaluate(graph, inputs, parameters)) {}

  void expect_same(const Graph& changed) const {
    EXPECT_LE(testing::worst_difference(expected, evaluate(changed, inputs, parameters)), kTolerance)
        << to_text(changed);
  }

  Graph graph;
  TensorMap inputs;
  TensorMap parameters;
  TensorMap expected;
};

void expect_round_trip(const Graph& graph) {
  const std::string text = to_text(graph);
  const Graph read_back = parse_graph(text);
  EXPECT_EQ(to_text(read_back), text);
  EXPECT_EQ(fingerprint(read_back), fingerprint(graph));
}

/// A target of moods: what it takes, runs and wants is drawn from the seed and the question.
FakeTarget moody_target(std::uint64_t seed) {
  FakeTarget target;
  target.takes_entry = [seed](const Node& node, std::string_view entry, const Type*) {
    const std::size_t length = node.attributes().strings("epilogue").size();
    return length < 4 && Dice(seed + 31 * entry.size() + 7 * length).chance(75);
  };
  target.supported = [seed](const Node& node) {
    const bool plain = node.op().decomposition.function() == nullptr;
    const bool no_epilogue =
        node.attributes().has("epilogue") && node.attributes().strings("epilogue").empty();
    return plain || no_epilogue || Dice(seed + node.kind().size()).chance(50);
  };
  target.layouts = [seed, base = target.layouts](const Node& node) {
    LayoutChoice choice = base(node);
    if (!node.is("conv")) return choice;
    Dice dice(seed + static_cast<std::uint64_t>(node.result_types()[0].shape[1].factor));
    const std::vector<Layout> layouts{"", "acdb", "aBcd8b"};
    choice.operands[0] = dice.pick(layouts);
    choice.operands[1] = "Acdb8a";
    choice.results[0] = dice.pick(layouts);
    return choice;
  };
  return target;
}

PassContext context_with(const Target* target) {
  PassContext context;
  context.target = target;
  context.evaluate = testing::reference_evaluator();
  return context;
}

class RandomGraph : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  template <class Work>
  void for_each_seed(std::uint64_t step, Work&& work) {
    for (std::uint64_t i = 0; i < kSeedsPerShard && !HasFailure(); i += step) {
      const std::uint64_t seed = GetParam() * kSeedsPerShard + i;
      SCOPED_TRACE("seed " + std::to_string(seed));
      work(seed, Case(seed));
    }
  }
};

TEST_P(RandomGraph, ThePipelineKeepsTheOutputsAndIsIdempotent) {
  for_each_seed(1, [](std::uint64_t seed, const Case& network) {
    expect_round_trip(network.graph);
    const FakeTarget target = seed % 2 == 0 ? FakeTarget() : moody_target(seed);
    const std::vector<Pass> pipeline = optimization_pipeline();
    Graph graph = network.graph.clone();
    PassContext context = context_with(&target);
    PipelineOptions options;
    options.after_pass = [](std::string_view pass, const Graph& now) {
      SCOPED_TRACE(pass);
      expect_round_trip(now);
    };
    run_pipeline(graph, pipeline, context, options);
    network.expect_same(graph);

    Graph twin = network.graph.clone();
    run_pipeline(twin, pipeline, context);
    EXPECT_EQ(to_text(twin), to_text(graph)) << "the same graph gave another result";

    const std::string once = to_text(graph);
    for (const PassReport& report : run_pipeline(graph, pipeline, context)) {
      EXPECT_FALSE(report.changed) << report.name << " found more to do in a second run";
    }
    EXPECT_EQ(to_text(graph), once);
  });
}

TEST_P(RandomGraph, EachPassAloneKeepsTheOutputs) {
  for_each_seed(1, [](std::uint64_t seed, const Case& network) {
    const FakeTarget target = moody_target(seed);
    const Graph fixed = network.graph.with_symbol("N", 2);
    for (const Pass& pass : all_passes()) {
      SCOPED_TRACE(pass.name);
      const bool needs_static = pass.name == "assign-layouts";
      Graph graph = needs_static ? fixed.clone() : network.graph.clone();
      PassContext context = context_with(&target);
      const std::vector<Pass> passes{pass};
      if (!run_pipeline(graph, passes, context).at(0).changed) continue;
      network.expect_same(graph);
      expect_round_trip(graph);
    }
  });
}

TEST_P(RandomGraph, EveryPrefixOfThePipelineKeepsTheOutputs) {
  for_each_seed(8, [](std::uint64_t seed, const Case& network) {
    const FakeTarget target = moody_target(seed);
    const std::vector<Pass> pipeline = optimization_pipeline();
    for (std::size_t stop = 0; stop <= pipeline.size(); ++stop) {
      Graph graph = network.graph.clone();
      PassContext context = context_with(&target);
      PipelineOptions options;
      options.stop_after = static_cast<int>(stop);
      EXPECT_EQ(run_pipeline(graph, pipeline, context, options).size(), stop);
      network.expect_same(graph);
    }
  });
}

// A whole compilation: fused, in bf16 for every second seed, decomposed, laid out.
TEST_P(RandomGraph, LoweringKeepsTheOutputs) {
  for_each_seed(2, [](std::uint64_t seed, const Case& network) {
    const FakeTarget target = moody_target(seed);
    PassContext context = context_with(&target);
    Graph graph = network.graph.with_symbol("N", 2);
    run_pipeline(graph, optimization_pipeline(), context);
    if (seed % 4 == 0) {
      const std::vector<Pass> lowering{find_pass("lower-to-bf16")};
      run_pipeline(graph, lowering, context);
    }
    run_pipeline(graph, layout_pipeline(), context);
    network.expect_same(graph);
    expect_round_trip(graph);
    for (const Output& output : graph.outputs()) {
      EXPECT_EQ(output.value.type().layout, "") << output.name;
      EXPECT_EQ(output.value.dtype(), DType::f32) << output.name;
    }
    for (Node* node : graph.node_list()) {
      EXPECT_TRUE(node->operand_count() == 0 || target.supports(*node)) << node->kind();
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Shards, RandomGraph, ::testing::Range<std::uint64_t>(0, 8));

// What the networks are made of: a generator that stops making a kind of node would test nothing.
TEST(RandomNetwork, CoversTheOpsAndPatterns) {
  std::map<std::string, int, std::less<>> kinds;
  std::map<std::string, int> remarks;
  std::size_t largest = 0;
  for (std::uint64_t seed = 0; seed < 8 * kSeedsPerShard; ++seed) {
    Graph graph = testing::random_network(seed, 3 + static_cast<int>(seed % 16));
    verify(graph);
    EXPECT_EQ(graph.symbols(), std::vector<std::string>{"N"});
    std::size_t computed = 0;
    for (Node* node : graph.node_list()) {
      ++kinds[std::string(node->kind())];
      computed += node->operand_count() > 0 ? 1 : 0;
    }
    largest = std::max(largest, computed);
    PassContext context = context_with(nullptr);
    run_pipeline(graph, optimization_pipeline(), context);
    for (const Remark& remark : context.remarks) {
      ++remarks[remark.pass + (remark.reason.empty() ? "" : ": " + remark.reason)];
    }
  }
  for (const char* kind :
       {"conv", "linear", "matmul", "batch_norm", "relu", "prelu", "sigmoid", "tanh", "clamp", "add",
        "sub", "mul", "div", "maximum", "minimum", "concat", "slice", "max_pool", "avg_pool",
        "reduce_mean", "reduce_sum", "reduce_max", "reshape", "transpose", "softmax", "constant"}) {
    EXPECT_GE(kinds[kind], 10) << kind;
  }
  EXPECT_GE(largest, 40u);
  for (const char* remark :
       {"fold-batch-norm", "fuse-epilogue", "fuse-elementwise",
        "fold-batch-norm: the conv pads with zeros behind the batch norm: not exact",
        "fold-batch-norm: the batch norm has other readers, or the conv has groups",
        "fold-batch-norm: what stands between them does not commute with a scale",
        "fuse-epilogue: its result has 2 readers",
        "fuse-epilogue: the slopes do not run along the last axis",
        "fuse-elementwise: its result has 2 readers",
        "fuse-elementwise: it would be computed again for every broadcast element"}) {
    EXPECT_GE(remarks[remark], 5) << remark;
  }
}

}  // namespace
}  // namespace facet
