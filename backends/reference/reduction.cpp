// reduce_sum, reduce_mean, reduce_max, reduce_min, reduce_prod, softmax, and gradients of some.

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/reference/broadcast.h"
#include "backends/reference/evaluators.h"
#include "backends/reference/scalar_functions.h"
#include "backends/reference/whole_numbers.h"

namespace facet::reference {
namespace {

/// Strides that lead from an index of x to the element of the reduction it goes into.
Extents reduction_strides(const Call& call, const HostTensor& x) {
  Extents kept = x.shape();
  for (const std::int64_t axis : call.attributes().ints("axes")) {
    kept.at(normal_axis(axis, x.rank())) = 1;
  }
  Extents strides = row_major_strides(kept);
  for (std::size_t axis = 0; axis < kept.size(); ++axis) {
    if (kept[axis] == 1) strides[axis] = 0;
  }
  return strides;
}

DType result_dtype(const Call& call) { return call.node.result_types()[0].dtype; }

HostTensor reduce(const Call& call, double start, BinaryFunction function) {
  const HostTensor& x = call.operand(0);
  const Extents strides = reduction_strides(call, x);
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
  return {wrapped(reduce(call, 0, binary_function("add")), result_dtype(call))};
}

std::vector<HostTensor> reduce_mean(const Call& call) {
  HostTensor result = reduce(call, 0, binary_function("add"));
  const double count = static_cast<double>(call.operand(0).element_count()) /
                       static_cast<double>(result.element_count());
  double* values = result.as_mutable<double>();
  for (std::int64_t i = 0; i < result.element_count(); ++i) values[i] /= count;
  return {wrapped(result, result_dtype(call))};
}

/// The extreme of no elements: the other end of the dtype's range.
double end_of_range(const Call& call, double infinity) {
  const DType dtype = result_dtype(call);
  if (dtype == DType::boolean) return infinity > 0 ? 1 : 0;
  return HostTensor::scalar(dtype, infinity).at(0);
}

std::vector<HostTensor> reduce_max(const Call& call) {
  const double least = end_of_range(call, -std::numeric_limits<double>::infinity());
  return {reduce(call, least, binary_function("maximum"))};
}

std::vector<HostTensor> reduce_min(const Call& call) {
  const double most = end_of_range(call, std::numeric_limits<double>::infinity());
  return {reduce(call, most, binary_function("minimum"))};
}

std::vector<HostTensor> reduce_prod(const Call& call) {
  return {wrapped(reduce(call, 1, binary_function("mul")), result_dtype(call))};
}

/// dy times the product of the elements ahead of each one and of those behind it.
std::vector<HostTensor> reduce_prod_bwd(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& x = call.operand(1);
  std::vector<std::vector<std::int64_t>> members(static_cast<std::size_t>(dy.element_count()));
  for_each_offset(x.shape(), reduction_strides(call, x), [&](std::int64_t i, std::int64_t offset) {
    members[static_cast<std::size_t>(offset)].push_back(i);
  });
  HostTensor dx = call.result();
  for (std::int64_t o = 0; o < dy.element_count(); ++o) {
    const std::vector<std::int64_t>& group = members[static_cast<std::size_t>(o)];
    double ahead = dy.at(o);
    for (const std::int64_t i : group) {
      dx.as_mutable<double>()[i] = ahead;
      ahead *= x.at(i);
    }
    double behind = 1;
    for (std::size_t k = group.size(); k-- > 0;) {
      dx.as_mutable<double>()[group[k]] *= behind;
      behind *= x.at(group[k]);
    }
  }
  return {dx};
}

/// The first largest element takes the cotangent; a NaN counts as largest.
std::vector<HostTensor> reduce_max_bwd(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& x = call.operand(1);
  std::vector<std::int64_t> winner(static_cast<std::size_t>(dy.element_count()), -1);
  for_each_offset(x.shape(), reduction_strides(call, x), [&](std::int64_t i, std::int64_t offset) {
    std::int64_t& best = winner[static_cast<std::size_t>(offset)];
    if (best < 0 || (!std::isnan(x.at(best)) && !(x.at(i) <= x.at(best)))) best = i;
  });
  HostTensor dx = call.result();
  for (std::int64_t o = 0; o < dy.element_count(); ++o) {
    dx.as_mutable<double>()[winner[static_cast<std::size_t>(o)]] = dy.at(o);
  }
  return {dx};
}

std::vector<HostTensor> softmax_bwd(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& y = call.operand(1);
  const std::size_t axis = normal_axis(call.attributes().integer("axis"), y.rank());
  const std::int64_t extent = y.shape().at(axis);
  const std::int64_t stride = product(y.shape(), axis + 1, y.shape().size());
  HostTensor dx = call.result();
  for (std::int64_t line = 0; line < product(y.shape(), 0, axis) * stride; ++line) {
    const std::int64_t first = line / stride * extent * stride + line % stride;
    double dot = 0;
    for (std::int64_t i = first; i < first + extent * stride; i += stride)
      dot += dy.at(i) * y.at(i);
    for (std::int64_t i = first; i < first + extent * stride; i += stride) {
      dx.as_mutable<double>()[i] = y.at(i) * (dy.at(i) - dot);
    }
  }
  return {dx};
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
  table["reduce_min"] = reduce_min;
  table["reduce_prod"] = reduce_prod;
  table["reduce_prod_bwd"] = reduce_prod_bwd;
  table["softmax"] = softmax;
  table["reduce_max_bwd"] = reduce_max_bwd;
  table["softmax_bwd"] = softmax_bwd;
}

}  // namespace facet::reference
