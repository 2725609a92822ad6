#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference.h"
#include "ir/error.h"
#include "tests/cpu/run_node.h"
#include "tests/support/op_samples.h"

namespace facet::testing {
namespace {

struct Configuration {
  DType dtype;
  Layouts layouts;
  double tolerance;
};

std::string name_of(const Configuration& configuration) {
  constexpr const char* kNames[] = {"row_major", "chosen", "channels_last"};
  return fmt::format("{}_{}", to_string(configuration.dtype),
                     kNames[static_cast<int>(configuration.layouts)]);
}

bool takes(const OpDef& op, const Sample& sample) {
  Graph graph;
  std::vector<Value> operands;
  for (const Type& type : sample.operands) {
    operands.push_back(
        graph.create("input", {}, {{"name", std::string("x")}, {"type", to_string(type)}})
            ->result());
  }
  try {
    graph.create(op, operands, sample.attributes);
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Operands that the op takes in f32 only stay so, as do all of an op that precision passes leave
/// in f32.
Sample with_dtype(const OpDef& op, Sample sample, DType dtype) {
  if (op.precision == PrecisionPolicy::f32) return sample;
  Sample changed = sample;
  for (Type& type : changed.operands) {
    if (type.dtype == DType::f32) type.dtype = dtype;
  }
  if (takes(op, changed)) return changed;
  for (std::size_t i = 0; i < sample.operands.size(); ++i) {
    changed = sample;
    if (changed.operands[i].dtype == DType::f32) changed.operands[i].dtype = dtype;
    if (takes(op, changed)) sample = changed;
  }
  return sample;
}

/// A cast may leave the configuration's type.
double tolerance(DType dtype, const Configuration& configuration) {
  return std::max(configuration.tolerance, dtype == DType::bf16  ? 1e-2
                                           : dtype == DType::f16 ? 2e-3
                                                                 : 0);
}

class OpMatrix : public ::testing::TestWithParam<Configuration> {};

// Every op on its own samples: dtype x layout against the float64 oracle.
TEST_P(OpMatrix, EqualsTheOracle) {
  const Configuration& configuration = GetParam();
  const std::unique_ptr<Backend> backend = make_cpu_backend();
  for (const OpDef* op : all_ops()) {
    for (const Sample& original : op->samples.make()) {
      const Sample sample = with_dtype(*op, original, configuration.dtype);
      SCOPED_TRACE(describe(*op, sample));
      SampleCase test = make_case(*op, sample);
      // The oracle computes on the values the backend reads.
      for (auto& [name, tensor] : test.inputs) {
        const auto number = static_cast<std::size_t>(std::stoi(name.substr(1)));
        if (tensor.dtype() == DType::f32) {
          tensor = tensor.cast(sample.operands[number].dtype).cast(DType::f32);
        }
      }
      const auto expected = evaluate(test.graph, test.inputs, {});
      try {
        const NodeRun run = run_graph(*backend, test.graph, test.inputs, configuration.layouts);
        for (const auto& [name, tensor] : expected) {
          const HostTensor& actual = run.outputs.at(name);
          EXPECT_LE(relative_l2(actual, tensor), tolerance(actual.dtype(), configuration))
              << name << " by " << ::testing::PrintToString(run.implementations);
        }
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, OpMatrix,
                         ::testing::Values(Configuration{DType::f32, Layouts::row_major, 1e-5},
                                           Configuration{DType::f32, Layouts::chosen, 1e-5},
                                           Configuration{DType::f32, Layouts::channels_last, 1e-5},
                                           Configuration{DType::bf16, Layouts::row_major, 1e-2},
                                           Configuration{DType::bf16, Layouts::chosen, 1e-2},
                                           Configuration{DType::bf16, Layouts::channels_last, 1e-2},
                                           Configuration{DType::f16, Layouts::chosen, 2e-3}),
                         [](const auto& test) { return name_of(test.param); });

}  // namespace
}  // namespace facet::testing
