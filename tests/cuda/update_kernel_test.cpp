#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "backends/cuda/kernels/update.h"
#include "backends/cuda/nvrtc.h"
#include "backends/reference/reference.h"
#include "tests/cuda/host_kernels.h"
#include "tests/formats/temp_folder.h"
#include "tests/support/fill.h"
#include "tests/support/paths.h"

// Optimizer steps of many tensors in one kernel: text (tests/golden/cuda_updates.txt;
// FACET_UPDATE_GOLDEN=1 writes it anew), compilation, and arithmetic on the host.
namespace facet {
namespace {

/// As the kernels' prelude has it.
struct Row {
  float* states[3];
  const float* source;
  long long count;
  int first_block;
};

/// Elements of the tensors: less than a vector, odd, one block, several blocks and a rest.
const std::vector<std::int64_t> kSizes{3, 1025, 4096, 9001};

struct OpCase {
  const char* title;
  const char* op;
  int states;  ///< operands that are updated
  bool has_step;
  Attributes attributes;
};

std::vector<OpCase> op_cases() {
  return {{"SGD with Nesterov's momentum",
           "sgd_update",
           2,
           false,
           {{"momentum", 0.9}, {"weight_decay", 5e-4}, {"nesterov", true}}},
          {"SGD with momentum", "sgd_update", 2, false, {{"momentum", 0.9}}},
          {"Adam", "adam_update", 3, true, {{"weight_decay", 0.01}}},
          {"AdamW", "adam_update", 3, true, {{"weight_decay", 0.01}, {"decoupled", true}}},
          {"averages", "ema_update", 1, false, {{"decay", 0.99}}}};
}

/// A graph with one update for each size; operands of tensor t are inputs "t<t>.<i>".
Graph graph_of(const OpCase& c) {
  Graph graph(c.op);
  const auto input = [&](const std::string& name, std::int64_t count) {
    const Type type{DType::f32, {count}, {}};
    return graph.create("input", {}, {{"name", name}, {"type", to_string(type)}})->result();
  };
  const bool has_rate = std::string(c.op) != "ema_update";
  Value rate = has_rate ? input("lr", 1) : Value{};
  Value step = c.has_step ? input("step", 1) : Value{};
  for (std::size_t t = 0; t < kSizes.size(); ++t) {
    std::vector<Value> operands;
    for (int i = 0; i <= c.states; ++i) {
      operands.push_back(input("t" + std::to_string(t) + "." + std::to_string(i), kSizes[t]));
    }
    if (has_rate) operands.push_back(rate);
    if (c.has_step) operands.push_back(step);
    Node* node = graph.create(c.op, operands, c.attributes);
    for (int i = 0; i < c.states; ++i) {
      graph.outputs().push_back(
          {"t" + std::to_string(t) + "." + std::to_string(i), node->result(i)});
    }
  }
  return graph;
}

cuda::UpdateKernel kernel_of(const Graph& graph) {
  std::vector<const Node*> nodes;
  for (const Node* node : graph.node_list()) {
    if (cuda::is_update(*node)) nodes.push_back(node);
  }
  for (const Node* node : nodes) EXPECT_TRUE(cuda::updates_together(*nodes[0], *node));
  return cuda::update_kernel(nodes);
}

TensorMap inputs_of(const Graph& graph) {
  TensorMap inputs;
  for (const Node* node : graph.inputs()) {
    const std::string& name = node->attributes().text("name");
    inputs[name] = testing::uniform(name, static_extents(node->result_types()[0].shape), 0.5, 1.5)
                       .cast(DType::f32)
                       .clone();
  }
  if (inputs.contains("lr")) inputs["lr"].as_mutable<float>()[0] = 0.01F;
  if (inputs.contains("step"))
    inputs["step"].as_mutable<float>()[0] = 1;  // where a power is near 1
  return inputs;
}

/// The kernels of all cases, compiled together; numbered as the cases are.
const test::HostKernels& host_kernels() {
  static test::HostKernels all;
  [[maybe_unused]] static const bool is_compiled = [] {
    for (const OpCase& c : op_cases()) all.add(kernel_of(graph_of(c)).kernel);
    all.compile();
    return true;
  }();
  return all;
}

/// Runs the kernel of case `number` on `inputs` in place.
void run(std::size_t number, TensorMap& inputs) {
  const OpCase c = op_cases()[number];
  const int states = c.states;
  const cuda::UpdateKernel kernel = kernel_of(graph_of(c));
  std::vector<Row> rows;
  for (std::size_t t = 0; t < kernel.rows.size(); ++t) {
    Row row{{}, nullptr, kernel.rows[t].count, kernel.rows[t].first_block};
    const auto address = [&](int i) {
      return inputs.at("t" + std::to_string(t) + "." + std::to_string(i)).as_mutable<float>();
    };
    for (int i = 0; i < states; ++i) row.states[i] = address(i);
    row.source = address(states);
    rows.push_back(row);
  }
  std::vector<void*> parameters{rows.data()};
  if (inputs.contains("lr")) parameters.push_back(inputs.at("lr").mutable_data());
  if (inputs.contains("step")) parameters.push_back(inputs.at("step").mutable_data());
  ASSERT_EQ(parameters.size(), kernel.kernel.arguments.size());
  host_kernels().run(number, parameters);
}

TEST(UpdateKernel, TextsAreTheGoldenOnes) {
  std::string found =
      "// Optimizer steps of four tensors as they are generated, without the prelude.\n";
  for (const OpCase& c : op_cases()) {
    found += std::string("\n// ") + c.title + "\n" + kernel_of(graph_of(c)).kernel.text;
  }
  const auto path = testing::test_data() / "golden/cuda_updates.txt";
  if (std::getenv("FACET_UPDATE_GOLDEN") != nullptr) {
    test::write_bytes(path, found);
    GTEST_SKIP() << "wrote " << path;
  }
  EXPECT_EQ(found, test::read_bytes(path));
}

TEST(UpdateKernel, CompilesWithoutSpillsForEveryArchitecture) {
  for (const int architecture : {80, 90, 100}) {
    for (const OpCase& c : op_cases()) {
      const cuda::KernelResources resources =
          cuda::compile_kernel(kernel_of(graph_of(c)).kernel, architecture).resources;
      EXPECT_EQ(resources.stack_bytes, 0) << c.title << " sm_" << architecture;
      EXPECT_EQ(resources.spill_bytes, 0) << c.title;
      EXPECT_LE(resources.registers, 64) << c.title;
      if (architecture == 90)
        std::printf("sm_90, %d registers: %s\n", resources.registers, c.title);
    }
  }
}

TEST(UpdateKernel, ComputesWhatTheOracleComputes) {
  for (std::size_t number = 0; number < op_cases().size(); ++number) {
    const OpCase c = op_cases()[number];
    const Graph graph = graph_of(c);
    EXPECT_EQ(kernel_of(graph).kernel.blocks, 1 + 1 + 1 + 3);
    TensorMap inputs = inputs_of(graph);
    const TensorMap expected = evaluate(graph, inputs, {});
    run(number, inputs);
    for (const auto& [name, tensor] : expected) {
      const HostTensor& found = inputs.at(name);
      for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
        ASSERT_NEAR(found.at(i), tensor.at(i), 2e-6 * (1 + std::fabs(tensor.at(i))))
            << c.title << " " << name << " at " << i;
      }
    }
  }
}

TEST(UpdateKernel, ARateThatIsNotFiniteChangesNothing) {
  for (std::size_t number = 0; number < op_cases().size(); ++number) {
    const OpCase c = op_cases()[number];
    const Graph graph = graph_of(c);
    if (std::string(c.op) == "ema_update") continue;
    for (const float rate :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      TensorMap inputs = inputs_of(graph);
      const TensorMap before = inputs_of(graph);
      inputs["lr"].as_mutable<float>()[0] = rate;
      run(number, inputs);
      for (const auto& [name, tensor] : before) {
        if (name == "lr") continue;
        for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
          ASSERT_EQ(inputs.at(name).at(i), tensor.at(i)) << c.title << " " << name;
        }
      }
    }
  }
}

TEST(UpdateKernel, OtherSettingsAreAnotherKernel) {
  OpCase a = op_cases()[0];
  const Graph first = graph_of(a);
  a.attributes.set("momentum", 0.8);
  const Graph second = graph_of(a);
  EXPECT_FALSE(cuda::updates_together(*first.node_list().back(), *second.node_list().back()));
  EXPECT_FALSE(cuda::is_update(*first.inputs()[0]));
}

}  // namespace
}  // namespace facet
