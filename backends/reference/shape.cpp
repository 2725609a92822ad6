// Ops that move values and change none: reshape, transpose, concat, slice, pad, reverse, cast,
// reorder.

#include <algorithm>
#include <string>

#include "backends/reference/broadcast.h"
#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

std::vector<HostTensor> reshape(const Call& call) {
  return {call.operand(0).reshaped(call.shape())};
}

std::vector<HostTensor> transpose(const Call& call) {
  const HostTensor& x = call.operand(0);
  const Extents own = row_major_strides(x.shape());
  Extents strides;  // of the operand, along the result's axes
  for (const std::int64_t axis : call.attributes().ints("permutation")) {
    strides.push_back(own.at(normal_axis(axis, x.rank())));
  }
  HostTensor result = call.result();
  const double* from = x.as<double>();
  double* to = result.as_mutable<double>();
  for_each_offset(result.shape(), strides,
                  [&](std::int64_t i, std::int64_t offset) { to[i] = from[offset]; });
  return {result};
}

std::vector<HostTensor> concat(const Call& call) {
  HostTensor result = call.result();
  const std::size_t axis = normal_axis(call.attributes().integer("axis"), result.rank());
  double* to = result.as_mutable<double>();
  for (std::int64_t outer = 0; outer < product(result.shape(), 0, axis); ++outer) {
    for (const HostTensor& part : call.operands) {
      const std::int64_t row = product(part.shape(), axis, part.shape().size());
      to = std::copy_n(part.as<double>() + outer * row, row, to);
    }
  }
  return {result};
}

std::vector<HostTensor> slice(const Call& call) {
  const HostTensor& x = call.operand(0);
  HostTensor result = call.result();
  const std::size_t axis = normal_axis(call.attributes().integer("axis"), x.rank());
  const std::size_t rank = x.shape().size();
  const std::int64_t start = call.attributes().integer("start");
  const std::int64_t first = start < 0 ? start + x.shape()[axis] : start;
  const std::int64_t row = product(result.shape(), axis, rank);
  double* to = result.as_mutable<double>();
  for (std::int64_t outer = 0; outer < product(x.shape(), 0, axis); ++outer) {
    const std::int64_t from =
        outer * product(x.shape(), axis, rank) + first * product(x.shape(), axis + 1, rank);
    to = std::copy_n(x.as<double>() + from, row, to);
  }
  return {result};
}

/// The element of an axis of `extent` that stands at place i of the axis without end: beyond its
/// ends it is repeated, mirrored or begun anew.
std::int64_t source(const std::string& mode, std::int64_t i, std::int64_t extent) {
  if (mode == "edge" || extent == 1) return std::clamp<std::int64_t>(i, 0, extent - 1);
  if (mode == "wrap") return (i % extent + extent) % extent;
  while (i < 0 || i >= extent) i = i < 0 ? -i : 2 * (extent - 1) - i;
  return i;
}

std::vector<HostTensor> pad(const Call& call) {
  const HostTensor& x = call.operand(0);
  HostTensor result = call.result();
  const std::string& mode = call.attributes().text("mode");
  const std::size_t axis = normal_axis(call.attributes().integer("axis"), x.rank());
  const std::int64_t inner = product(x.shape(), axis + 1, x.shape().size());
  const std::int64_t extent = x.shape()[axis];
  const std::int64_t before = call.attributes().integer("before");
  double* to = result.as_mutable<double>();
  for (std::int64_t outer = 0; outer < product(x.shape(), 0, axis); ++outer) {
    for (std::int64_t i = -before; i < result.shape()[axis] - before; ++i, to += inner) {
      if (mode == "constant" && (i < 0 || i >= extent)) {
        std::fill_n(to, inner, call.attributes().number("value"));
        continue;
      }
      const std::int64_t from = mode == "constant" ? i : source(mode, i, extent);
      std::copy_n(x.as<double>() + (outer * extent + from) * inner, inner, to);
    }
  }
  return {result};
}

std::vector<HostTensor> reverse(const Call& call) {
  const HostTensor& x = call.operand(0);
  HostTensor result = call.result();
  const std::size_t axis = normal_axis(call.attributes().integer("axis"), x.rank());
  const std::int64_t extent = x.shape()[axis];
  const std::int64_t row = product(x.shape(), axis + 1, x.shape().size());
  for (std::int64_t outer = 0; outer < product(x.shape(), 0, axis); ++outer) {
    for (std::int64_t i = 0; i < extent; ++i) {
      std::copy_n(x.as<double>() + (outer * extent + extent - 1 - i) * row, row,
                  result.as_mutable<double>() + (outer * extent + i) * row);
    }
  }
  return {result};
}

/// Casts between float types change nothing here; one to an integer type drops the fraction and
/// saturates.
std::vector<HostTensor> cast(const Call& call) {
  const DType dtype = parse_dtype(call.attributes().text("dtype"));
  if (is_float(dtype)) return {call.operand(0)};
  return {call.operand(0).cast(dtype).cast(DType::f64)};
}

std::vector<HostTensor> reorder(const Call& call) { return {call.operand(0)}; }

}  // namespace

void add_shape_ops(EvaluatorTable& table) {
  table["reshape"] = reshape;
  table["transpose"] = transpose;
  table["concat"] = concat;
  table["slice"] = slice;
  table["pad"] = pad;
  table["reverse"] = reverse;
  table["cast"] = cast;
  table["reorder"] = reorder;
}

}  // namespace facet::reference
