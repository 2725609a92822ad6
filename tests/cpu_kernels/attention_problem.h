#pragma once

#include <omp.h>

#include <deque>
#include <functional>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/sdpa_loops.h"
#include "tests/cpu_kernels/harness.h"
#include "tests/support/fill.h"

/// What tests of attention's kernels of several results share.
namespace facet::testing {

inline Type f32(Shape shape) { return {DType::f32, std::move(shape), {}}; }

/// Which operands of an op are tokens: those from `first` on, which a packed node reads as one
/// value; and which are of the low dtype, if one is asked for.
struct TokenOperands {
  std::string_view op;
  int first = 0, end = 0;
  int low_first = 0, low_end = 0;
};

/// A node of the sample and its inputs, rounded to `dtype` where they are multiplied.
struct AttentionProblem {
  Graph graph;
  TensorMap inputs, expected;
  Node* node = nullptr;

  AttentionProblem(const TokenOperands& tokens, const Sample& sample, DType dtype) {
    std::vector<Value> operands;
    for (int i = 0; i < static_cast<int>(sample.operands.size()); ++i) {
      Type type = sample.operands[static_cast<std::size_t>(i)];
      if (i >= tokens.low_first && i < tokens.low_end) type.dtype = dtype;
      const bool is_packed = sample.attributes.has("packed") && i >= tokens.first && i < tokens.end;
      const std::string name = fmt::format("x{}", is_packed ? tokens.first : i);
      if (is_packed && i > tokens.first) {
        operands.push_back(operands[static_cast<std::size_t>(tokens.first)]);
        continue;
      }
      operands.push_back(
          graph.create("input", {}, {{"name", name}, {"type", to_string(type)}})->result());
      inputs[name] =
          uniform(name, static_extents(type.shape), sample.lo, sample.hi).cast(type.dtype);
    }
    node = graph.create(find_op(tokens.op), operands, sample.attributes);
    for (int i = 0; i < node->result_count(); ++i) {
      graph.outputs().push_back({fmt::format("g{}", i), node->result(i)});
    }
    expected = evaluate(graph, inputs, {});
  }
};

/// How a kernel's operands and results lie: maps, the values of rank 4, in a layout.
struct AttentionRun {
  std::function<std::unique_ptr<Kernel>(const Node&, std::span<const View>, std::span<const View>)>
      lower;
  Layout layout;
  Gaps gaps = Gaps::none;
  Gaps result_gaps = Gaps::none;
  int threads = 1;
};

inline std::vector<HostTensor> run(const AttentionProblem& problem, const AttentionRun& how) {
  const Node& node = *problem.node;
  std::deque<Placed> operands, results;
  std::vector<View> operand_views, result_views;
  std::vector<std::byte*> from, to;
  for (int i = 0; i < node.operand_count(); ++i) {
    Type type = node.operand(i).type();
    if (type.rank() == 4) type.layout = how.layout;
    Placed& operand = operands.emplace_back(type, how.gaps);
    operand.write(problem.inputs.at(node.operand(i).node->attributes().text("name")));
    operand_views.push_back(operand.view());
    from.push_back(operand.data());
  }
  for (int i = 0; i < node.result_count(); ++i) {
    Type type = node.result_types()[static_cast<std::size_t>(i)];
    if (type.rank() == 4) type.layout = how.layout;
    Placed& result = results.emplace_back(type, how.result_gaps);
    result_views.push_back(result.view());
    to.push_back(result.data());
  }
  const std::unique_ptr<Kernel> kernel = how.lower(node, operand_views, result_views);
  constexpr std::size_t kGuard = 64;
  const std::size_t bytes = kernel->scratch_bytes();
  // What lies in the scratch before a run is not to count, NaN or not.
  std::vector<std::byte> scratch(bytes + 2 * kGuard, std::byte{0xFF});
  const int before = omp_get_max_threads();
  omp_set_num_threads(how.threads);
  kernel->bind(*host_queue(), from, to, scratch.data() + kGuard)();
  omp_set_num_threads(before);
  for (std::size_t i = 0; i < kGuard; ++i) {
    EXPECT_EQ(scratch[i], std::byte{0xFF});
    EXPECT_EQ(scratch[bytes + kGuard + i], std::byte{0xFF});
  }
  std::vector<HostTensor> found;
  for (Placed& result : results) {
    EXPECT_TRUE(result.keeps_gaps());
    found.push_back(result.read());
  }
  return found;
}

inline double norm(const HostTensor& x) {
  double sum = 0;
  for (std::int64_t i = 0; i < x.element_count(); ++i) sum += x.at(i) * x.at(i);
  return std::sqrt(sum);
}

/// ||a - b|| / ||b||.
inline double error_of(const HostTensor& a, const HostTensor& b) {
  double difference = 0;
  for (std::int64_t i = 0; i < b.element_count(); ++i) {
    difference += (a.at(i) - b.at(i)) * (a.at(i) - b.at(i));
  }
  return std::sqrt(difference) / norm(b);
}

inline void expect_same_bits(const std::vector<HostTensor>& a, const std::vector<HostTensor>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(0, std::memcmp(a[i].data(), b[i].data(), static_cast<std::size_t>(a[i].byte_count())))
        << "threads change result " << i;
  }
}

}  // namespace facet::testing
