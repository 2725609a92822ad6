#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "backends/reference/reference.h"
#include "ir/op.h"

namespace facet::testing {

/// The reference's results of one op on these operands.
inline std::vector<HostTensor> evaluate_results(std::string_view op,
                                                const std::vector<HostTensor>& operands,
                                                const Attributes& attributes = {}) {
  Graph graph;
  TensorMap inputs;
  std::vector<Value> values;
  for (const HostTensor& operand : operands) {
    const std::string name = fmt::format("x{}", inputs.size());
    const Type type{operand.dtype(), Shape(operand.shape().begin(), operand.shape().end()), {}};
    values.push_back(
        graph.create("input", {}, {{"name", name}, {"type", to_string(type)}})->result());
    inputs[name] = operand;
  }
  Node* node = graph.create(op, values, attributes);
  for (int i = 0; i < node->result_count(); ++i) {
    graph.outputs().push_back({fmt::format("y{}", i), node->result(i)});
  }
  const auto found = evaluate(graph, inputs, {});
  std::vector<HostTensor> results;
  for (const Output& output : graph.outputs()) results.push_back(found.at(output.name));
  return results;
}

/// Result 0 alone.
inline HostTensor evaluate_op(std::string_view op, const std::vector<HostTensor>& operands,
                              const Attributes& attributes = {}) {
  return evaluate_results(op, operands, attributes).at(0);
}

/// An f64 operand.
inline HostTensor tensor(std::vector<std::int64_t> shape, const std::vector<double>& values) {
  return HostTensor::from_doubles(std::move(shape), values);
}

}  // namespace facet::testing
