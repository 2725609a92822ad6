// reduce_sum, reduce_mean, reduce_max, softmax.

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/reference/broadcast.h"
#include "backends/reference/evaluators.h"
#include "backends/reference/scalar_functions.h"

namespace facet::reference {
namespace {

HostTensor reduce(const Call& call, double start, BinaryFunction function) {
  const HostTensor& x = call.operand(0);
  Extents kept = x.shape();
  for (const std::int64_t axis : call.attributes().ints("axes")) {
    kept.at(normal_axis(axis, x.rank())) = 1;
  }
  Extents strides = row_major_strides(kept);
  for (std::size_t axis = 0; axis < kept.size(); ++axis) {
    if (kept[axis] == 1) strides[axis] = 0;
  }
  HostTensor result = call.result();
  double* to = result.as_mutable<double>();
  std::fill(to, to + result.element_count(), start);
  const double* from = x.as<double>();
  for_each_offset(x.shape(), strides, [&](std::int64_t i, std::int64_t offset) {
    to[offset] = function(to[offset], from[i]);
  });
  return result;
}

std::vector<HostTensor> reduce_sum(const Call& call) {
  return {reduce(call, 0, binary_function("add"))};
}

std::vector<HostTensor> reduce_mean(const Call& call) {
  HostTensor result = reduce(call, 0, binary_function("add"));
  const double count = static_cast<double>(call.operand(0).element_count()) /
                       static_cast<double>(result.element_count());
  double* values = result.as_mutable<double>();
  for (std::int64_t i = 0; i < result.element_count(); ++i) values[i] /= count;
  return {result};
}

std::vector<HostTensor> reduce_max(const Call& call) {
  return {reduce(call, -std::numeric_limits<double>::infinity(), binary_function("maximum"))};
}

std::vector<HostTensor> softmax(const Call& call) {
  const HostTensor& x = call.operand(0);
  const std::size_t axis = normal_axis(call.attributes().integer("axis"), x.rank());
  const std::int64_t extent = x.shape().at(axis);
  const std::int64_t stride = product(x.shape(), axis + 1, x.shape().size());
  HostTensor result = call.result();
  for (std::int64_t line = 0; line < product(x.shape(), 0, axis) * stride; ++line) {
    const std::int64_t first = line / stride * extent * stride + line % stride;
    const double* from = x.as<double>() + first;
    double* to = result.as_mutable<double>() + first;
    double largest = -std::numeric_limits<double>::infinity();
    for (std::int64_t i = 0; i < extent; ++i) largest = std::max(largest, from[i * stride]);
    double sum = 0;
    for (std::int64_t i = 0; i < extent; ++i) sum += std::exp(from[i * stride] - largest);
    for (std::int64_t i = 0; i < extent; ++i) {
      to[i * stride] = std::exp(from[i * stride] - largest) / sum;
    }
  }
  return {result};
}

}  // namespace

void add_reduction_ops(EvaluatorTable& table) {
  table["reduce_sum"] = reduce_sum;
  table["reduce_mean"] = reduce_mean;
  table["reduce_max"] = reduce_max;
  table["softmax"] = softmax;
}

}  // namespace facet::reference
