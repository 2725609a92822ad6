// batch_norm in its inference form, with the running statistics as operands.

#include <cmath>

#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

std::vector<HostTensor> batch_norm(const Call& call) {
  const HostTensor& x = call.operand(0);
  const double* scale = call.operand(1).as<double>();
  const double* bias = call.operand(2).as<double>();
  const double* mean = call.operand(3).as<double>();
  const double* variance = call.operand(4).as<double>();
  const double epsilon = call.attributes().number("epsilon");
  const std::int64_t channels = x.shape()[1];
  const std::int64_t plane = product(x.shape(), 2, x.shape().size());
  HostTensor result = call.result();
  const double* from = x.as<double>();
  double* to = result.as_mutable<double>();
  for (std::int64_t row = 0; row < x.shape()[0] * channels; ++row) {
    const std::int64_t c = row % channels;
    const double deviation = std::sqrt(variance[c] + epsilon);
    for (std::int64_t i = row * plane; i < (row + 1) * plane; ++i) {
      to[i] = scale[c] * (from[i] - mean[c]) / deviation + bias[c];
    }
  }
  return {result};
}

}  // namespace

void add_normalization_ops(EvaluatorTable& table) { table["batch_norm"] = batch_norm; }

}  // namespace facet::reference
