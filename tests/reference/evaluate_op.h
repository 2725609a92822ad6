#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "backends/reference/reference.h"
#include "ir/op.h"

namespace facet::testing {

/// The reference's result of one op on these operands.
inline HostTensor evaluate_op(std::string_view op, const std::vector<HostTensor>& operands,
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
  graph.outputs().push_back({"y", graph.create(op, values, attributes)->result()});
  return evaluate(graph, inputs, {}).at("y");
}

/// An f64 operand.
inline HostTensor tensor(std::vector<std::int64_t> shape, const std::vector<double>& values) {
  return HostTensor::from_doubles(std::move(shape), values);
}

}  // namespace facet::testing
