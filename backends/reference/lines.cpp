// arg_max, arg_min, cum_sum, one_hot, log_softmax.

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/reference/evaluators.h"
#include "backends/reference/whole_numbers.h"

namespace facet::reference {
namespace {

/// The lines of a tensor along one axis.
struct Lines {
  std::int64_t extent, stride, count;

  Lines(const Extents& shape, std::size_t axis)
      : extent(shape.at(axis)),
        stride(product(shape, axis + 1, shape.size())),
        count(product(shape, 0, axis) * stride) {}
  /// Row-major index of the line's first element.
  std::int64_t first(std::int64_t line) const {
    return line / stride * extent * stride + line % stride;
  }
};

Lines lines_of(const Call& call) {
  const HostTensor& x = call.operand(0);
  return {x.shape(), normal_axis(call.attributes().integer("axis"), x.rank())};
}

/// A NaN is more extreme than any number.
std::vector<HostTensor> arg(const Call& call) {
  const double* const x = call.operand(0).as<double>();
  const double sign = call.node.is("arg_max") ? 1 : -1;
  const bool last = call.attributes().boolean("select_last_index");
  const Lines lines = lines_of(call);
  HostTensor result = call.result();
  for (std::int64_t line = 0; line < lines.count; ++line) {
    std::int64_t best = 0;
    for (std::int64_t i = 1; i < lines.extent; ++i) {
      const double value = sign * x[lines.first(line) + i * lines.stride];
      const double record = sign * x[lines.first(line) + best * lines.stride];
      const bool beats = std::isnan(value) ? last || !std::isnan(record)
                                           : value > record || (last && value == record);
      if (beats) best = i;
    }
    result.as_mutable<double>()[line] = static_cast<double>(best);
  }
  return {result};
}

std::vector<HostTensor> cum_sum(const Call& call) {
  const HostTensor& x = call.operand(0);
  const bool exclusive = call.attributes().boolean("exclusive");
  const bool reverse = call.attributes().boolean("reverse");
  const Lines lines = lines_of(call);
  HostTensor result = call.result();
  for (std::int64_t line = 0; line < lines.count; ++line) {
    double sum = 0;
    for (std::int64_t step = 0; step < lines.extent; ++step) {
      const std::int64_t i = reverse ? lines.extent - 1 - step : step;
      const std::int64_t at = lines.first(line) + i * lines.stride;
      if (exclusive) result.as_mutable<double>()[at] = sum;
      sum += x.at(at);
      if (!exclusive) result.as_mutable<double>()[at] = sum;
    }
  }
  return {wrapped(result, call.node.result_types()[0].dtype)};
}

std::vector<HostTensor> one_hot(const Call& call) {
  const HostTensor& indices = call.operand(0);
  const std::size_t axis = normal_axis(call.attributes().integer("axis"), indices.rank() + 1);
  const auto depth = static_cast<double>(call.attributes().integer("depth"));
  HostTensor result = call.result();
  const Lines lines(result.shape(), axis);
  for (std::int64_t line = 0; line < lines.count; ++line) {
    const double index = indices.at(line) < 0 ? indices.at(line) + depth : indices.at(line);
    if (index < 0 || index >= depth) continue;
    result
        .as_mutable<double>()[lines.first(line) + static_cast<std::int64_t>(index) * lines.stride] =
        1;
  }
  return {result};
}

std::vector<HostTensor> log_softmax(const Call& call) {
  const HostTensor& x = call.operand(0);
  const Lines lines = lines_of(call);
  HostTensor result = call.result();
  for (std::int64_t line = 0; line < lines.count; ++line) {
    const auto value = [&](std::int64_t i) { return x.at(lines.first(line) + i * lines.stride); };
    double largest = -std::numeric_limits<double>::infinity();
    for (std::int64_t i = 0; i < lines.extent; ++i) largest = std::max(largest, value(i));
    double sum = 0;
    for (std::int64_t i = 0; i < lines.extent; ++i) sum += std::exp(value(i) - largest);
    for (std::int64_t i = 0; i < lines.extent; ++i) {
      result.as_mutable<double>()[lines.first(line) + i * lines.stride] =
          value(i) - largest - std::log(sum);
    }
  }
  return {result};
}

}  // namespace

void add_line_ops(EvaluatorTable& table) {
  table["arg_max"] = arg;
  table["arg_min"] = arg;
  table["cum_sum"] = cum_sum;
  table["one_hot"] = one_hot;
  table["log_softmax"] = log_softmax;
}

}  // namespace facet::reference
