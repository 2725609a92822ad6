// Unary and binary functions, clamp, prelu, and fused programs of them.

#include <algorithm>

#include "backends/reference/broadcast.h"
#include "backends/reference/evaluators.h"
#include "backends/reference/scalar_functions.h"
#include "ir/elementwise_program.h"

namespace facet::reference {
namespace {

HostTensor apply(UnaryFunction function, const HostTensor& x) {
  HostTensor result(DType::f64, x.shape());
  double* to = result.as_mutable<double>();
  std::transform(x.as<double>(), x.as<double>() + x.element_count(), to, function);
  return result;
}

HostTensor apply(BinaryFunction function, const HostTensor& a, const HostTensor& b) {
  HostTensor result(DType::f64, a.shape());
  double* to = result.as_mutable<double>();
  std::transform(a.as<double>(), a.as<double>() + a.element_count(), b.as<double>(), to, function);
  return result;
}

/// min(max(x, lo), hi): a NaN stays.
HostTensor bound(const HostTensor& x, const HostTensor& lo, const HostTensor& hi) {
  return apply(binary_function("minimum"),
               apply(binary_function("maximum"), x, broadcast_to(lo, x.shape())),
               broadcast_to(hi, x.shape()));
}

std::vector<HostTensor> unary(const Call& call) {
  return {apply(unary_function(call.node.kind()), call.operand(0))};
}

std::vector<HostTensor> binary(const Call& call) {
  return {apply(binary_function(call.node.kind()), broadcast_to(call.operand(0), call.shape()),
                broadcast_to(call.operand(1), call.shape()))};
}

std::vector<HostTensor> clamp(const Call& call) {
  const HostTensor lo = HostTensor::scalar(DType::f64, call.attributes().number("min"));
  const HostTensor hi = HostTensor::scalar(DType::f64, call.attributes().number("max"));
  return {bound(call.operand(0), lo, hi)};
}

std::vector<HostTensor> prelu(const Call& call) {
  const HostTensor& x = call.operand(0);
  const HostTensor slope = along_axis(call.operand(1), 1, x.rank());
  return {apply(binary_function("prelu"), x, broadcast_to(slope, x.shape()))};
}

HostTensor run(const ElementwiseInstruction& instruction, const std::vector<HostTensor>& values,
               const Extents& shape) {
  std::vector<HostTensor> operands;
  for (const ElementwiseArgument& argument : instruction.arguments) {
    operands.push_back(broadcast_to(argument.is_literal
                                        ? HostTensor::scalar(DType::f64, argument.literal)
                                        : values.at(argument.value),
                                    shape));
  }
  if (instruction.op == "clamp") {
    return bound(operands.at(0), operands.at(1), operands.at(2));
  }
  if (operands.size() == 1) return apply(unary_function(instruction.op), operands[0]);
  return apply(binary_function(instruction.op), operands.at(0), operands.at(1));
}

std::vector<HostTensor> elementwise(const Call& call) {
  std::vector<HostTensor> values = call.operands;
  for (const ElementwiseInstruction& instruction :
       parse_elementwise(call.attributes().strings("program"), values.size())) {
    values.push_back(run(instruction, values, call.shape()));
  }
  return {values.back()};
}

}  // namespace

void add_elementwise_ops(EvaluatorTable& table) {
  for (const char* name : {"relu", "sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt", "reciprocal",
                           "neg", "abs", "square", "erf"}) {
    table[name] = unary;
  }
  for (const char* name : {"add", "sub", "mul", "div", "maximum", "minimum", "pow"}) {
    table[name] = binary;
  }
  table["clamp"] = clamp;
  table["prelu"] = prelu;
  table["elementwise"] = elementwise;
}

}  // namespace facet::reference
