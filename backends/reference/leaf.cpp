// input, parameter, constant: where values come from. `evaluate` has checked that they are there.

#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

std::vector<HostTensor> input(const Call& call) {
  return {call.inputs.at(call.attributes().text("name")).cast(DType::f64)};
}

std::vector<HostTensor> parameter(const Call& call) {
  return {call.parameters.at(call.attributes().text("key")).cast(DType::f64)};
}

std::vector<HostTensor> constant(const Call& call) {
  return {call.attributes().tensor("value").cast(DType::f64)};
}

}  // namespace

void add_leaf_ops(EvaluatorTable& table) {
  table["input"] = input;
  table["parameter"] = parameter;
  table["constant"] = constant;
}

}  // namespace facet::reference
