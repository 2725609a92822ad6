// Unary and binary functions, clamp, where, prelu and its gradient, and fused programs of them.

#include <algorithm>

#include "backends/reference/broadcast.h"
#include "backends/reference/evaluators.h"
#include "backends/reference/scalar_functions.h"
#include "backends/reference/whole_numbers.h"
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

/// a where the condition is not 0, else b.
HostTensor choose(const HostTensor& condition, const HostTensor& a, const HostTensor& b) {
  HostTensor result(DType::f64, condition.shape());
  const double *c = condition.as<double>(), *p = a.as<double>(), *q = b.as<double>();
  double* to = result.as_mutable<double>();
  for (std::int64_t i = 0; i < result.element_count(); ++i) to[i] = c[i] != 0 ? p[i] : q[i];
  return result;
}

DType result_dtype(const Call& call) { return call.node.result_types()[0].dtype; }

std::vector<HostTensor> unary(const Call& call) {
  return {wrapped(apply(unary_function(call.node.kind()), call.operand(0)), result_dtype(call))};
}

std::vector<HostTensor> binary(const Call& call) {
  const HostTensor a = broadcast_to(call.operand(0), call.shape());
  const HostTensor b = broadcast_to(call.operand(1), call.shape());
  if (!is_float(result_dtype(call))) {
    return {whole_binary(call.node.kind(), a, b, result_dtype(call))};
  }
  return {apply(binary_function(call.node.kind()), a, b)};
}

std::vector<HostTensor> clamp(const Call& call) {
  const HostTensor lo = HostTensor::scalar(DType::f64, call.attributes().number("min"));
  const HostTensor hi = HostTensor::scalar(DType::f64, call.attributes().number("max"));
  return {bound(call.operand(0), lo, hi)};
}

std::vector<HostTensor> where(const Call& call) {
  return {choose(broadcast_to(call.operand(0), call.shape()),
                 broadcast_to(call.operand(1), call.shape()),
                 broadcast_to(call.operand(2), call.shape()))};
}

/// dx = dy * (x > 0 ? 1 : slope); dslope = sum of dy * min(x, 0) over all that read the slope.
std::vector<HostTensor> prelu_bwd(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& x = call.operand(1);
  const HostTensor& slope = call.operand(2);
  HostTensor dx = call.result();
  HostTensor dslope(DType::f64, slope.shape());
  double* to = dx.as_mutable<double>();
  double* sums = dslope.as_mutable<double>();
  const std::int64_t plane = x.rank() < 2 ? 1 : product(x.shape(), 2, x.shape().size());
  for (std::int64_t i = 0; i < x.element_count(); ++i) {
    const std::int64_t c = i / plane % slope.element_count();  // with one slope: 0
    to[i] = dy.at(i) * (x.at(i) > 0 ? 1 : slope.at(c));
    sums[c] += dy.at(i) * std::min(x.at(i), 0.0);
  }
  return {dx, dslope};
}

std::vector<HostTensor> prelu(const Call& call) {
  const HostTensor& x = call.operand(0);
  const HostTensor& one_or_more = call.operand(1);
  const HostTensor slope = one_or_more.element_count() == 1 ? one_or_more.reshaped({})
                                                            : along_axis(one_or_more, 1, x.rank());
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
  if (instruction.op == "where") return choose(operands.at(0), operands.at(1), operands.at(2));
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
                           "neg", "abs", "square", "erf", "floor", "ceil", "round", "sign", "sin", "cos",
                           "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh",
                           "atanh"}) {
    table[name] = unary;
  }
  for (const char* name : {"add", "sub", "mul", "div", "maximum", "minimum", "pow", "greater",
                           "equal", "greater_equal"}) {
    table[name] = binary;
  }
  table["clamp"] = clamp;
  table["where"] = where;
  table["prelu"] = prelu;
  table["prelu_bwd"] = prelu_bwd;
  table["elementwise"] = elementwise;
}

}  // namespace facet::reference
