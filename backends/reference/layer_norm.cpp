// layer_norm, row by row.

#include <cmath>

#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

std::vector<HostTensor> layer_norm(const Call& call) {
  const HostTensor& x = call.operand(0);
  const std::size_t axis = normal_axis(call.attributes().integer("axis"), x.rank());
  const std::int64_t n = product(x.shape(), axis, x.shape().size());
  HostTensor y = call.result();
  for (std::int64_t row = 0; row < x.element_count() / n; ++row) {
    const double* from = x.as<double>() + row * n;
    double* to = y.as_mutable<double>() + row * n;
    double mean = 0, variance = 0;
    for (std::int64_t i = 0; i < n; ++i) mean += from[i] / static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i) {
      variance += (from[i] - mean) * (from[i] - mean) / static_cast<double>(n);
    }
    const double deviation = std::sqrt(variance + call.attributes().number("epsilon"));
    for (std::int64_t i = 0; i < n; ++i) {
      to[i] = (from[i] - mean) / deviation;
      if (call.operands.size() > 1) to[i] *= call.operand(1).at(i);
      if (call.operands.size() > 2) to[i] += call.operand(2).at(i);
    }
  }
  return {y};
}

}  // namespace

void add_layer_norm_ops(EvaluatorTable& table) { table["layer_norm"] = layer_norm; }

}  // namespace facet::reference
