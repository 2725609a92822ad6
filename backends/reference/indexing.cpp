// Ops that read and write by index: gather, scatter and their kin, top_k, reverse_sequence,
// strided_slice.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "backends/reference/broadcast.h"
#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

constexpr std::int64_t kOutside = -1;

/// The place that an index names along an axis of `extent`, or kOutside.
std::int64_t place_of(double index, std::int64_t extent) {
  const auto place = static_cast<std::int64_t>(index) + (index < 0 ? extent : 0);
  return place >= 0 && place < extent ? place : kOutside;
}

/// An axis between the product of those ahead of it and that of those behind it.
struct Around {
  std::int64_t outer, extent, inner;
  Around(const Extents& shape, std::size_t axis)
      : outer(product(shape, 0, axis)),
        extent(shape[axis]),
        inner(product(shape, axis + 1, shape.size())) {}
};

std::size_t axis_of(const Call& call) {
  return normal_axis(call.attributes().integer("axis"), call.operand(0).rank());
}

std::vector<HostTensor> gather(const Call& call) {
  const HostTensor& indices = call.operand(1);
  const Around x(call.operand(0).shape(), axis_of(call));
  HostTensor result = call.result();
  double* to = result.as_mutable<double>();
  for (std::int64_t outer = 0; outer < x.outer; ++outer) {
    for (std::int64_t i = 0; i < indices.element_count(); ++i, to += x.inner) {
      const std::int64_t place = place_of(indices.at(i), x.extent);
      if (place == kOutside) continue;
      std::copy_n(call.operand(0).as<double>() + (outer * x.extent + place) * x.inner, x.inner, to);
    }
  }
  return {result};
}

std::vector<HostTensor> scatter_add(const Call& call) {
  const HostTensor& indices = call.operand(1);
  HostTensor result = call.result();
  const Around y(result.shape(), static_cast<std::size_t>(call.attributes().integer("axis")));
  const double* from = call.operand(0).as<double>();
  for (std::int64_t outer = 0; outer < y.outer; ++outer) {
    for (std::int64_t i = 0; i < indices.element_count(); ++i, from += y.inner) {
      const std::int64_t place = place_of(indices.at(i), y.extent);
      if (place == kOutside) continue;
      double* to = result.as_mutable<double>() + (outer * y.extent + place) * y.inner;
      for (std::int64_t k = 0; k < y.inner; ++k) to[k] += from[k];
    }
  }
  return {result};
}

/// Calls visit(i, offset) for every element i of the indices with the offset of the element of
/// `shape` that it names, or kOutside.
template <class Visit>
void for_each_named(const HostTensor& indices, const Extents& shape, std::size_t axis,
                    Visit visit) {
  Extents strides = row_major_strides(shape);
  const std::int64_t step = strides[axis];
  strides[axis] = 0;
  for_each_offset(indices.shape(), strides, [&](std::int64_t i, std::int64_t offset) {
    const std::int64_t place = place_of(indices.at(i), shape[axis]);
    visit(i, place == kOutside ? kOutside : offset + place * step);
  });
}

std::vector<HostTensor> gather_elements(const Call& call) {
  const HostTensor& x = call.operand(0);
  HostTensor result = call.result();
  for_each_named(call.operand(1), x.shape(), axis_of(call),
                 [&](std::int64_t i, std::int64_t offset) {
                   if (offset == kOutside) return;
                   result.as_mutable<double>()[i] = x.as<double>()[offset];
                 });
  return {result};
}

double reduced(const std::string& reduction, double x, double update) {
  if (reduction == "add") return x + update;
  if (reduction == "mul") return x * update;
  if (reduction == "max") return std::max(x, update);
  if (reduction == "min") return std::min(x, update);
  return update;
}

std::vector<HostTensor> scatter_elements(const Call& call) {
  HostTensor result = call.operand(0).clone();
  const std::string& reduction = call.attributes().text("reduction");
  double* y = result.as_mutable<double>();
  for_each_named(call.operand(1), result.shape(), axis_of(call),
                 [&](std::int64_t i, std::int64_t offset) {
                   if (offset == kOutside) return;
                   y[offset] = reduced(reduction, y[offset], call.operand(2).as<double>()[i]);
                 });
  return {result};
}

/// The offset of the slice of `shape` that the `depth` indices at `places` name along the axes from
/// `first` on, or kOutside.
std::int64_t slice_offset(const double* places, std::int64_t depth, const Extents& shape,
                          std::size_t first) {
  const Extents strides = row_major_strides(shape);
  std::int64_t offset = 0;
  for (std::int64_t d = 0; d < depth; ++d) {
    const std::size_t axis = first + static_cast<std::size_t>(d);
    const std::int64_t place = place_of(places[d], shape[axis]);
    if (place == kOutside) return kOutside;
    offset += place * strides[axis];
  }
  return offset;
}

std::vector<HostTensor> gather_nd(const Call& call) {
  const HostTensor& x = call.operand(0);
  const HostTensor& indices = call.operand(1);
  const auto batch = static_cast<std::size_t>(call.attributes().integer("batch_dims"));
  const std::int64_t depth = indices.shape().back();
  const std::int64_t slice =
      product(x.shape(), batch + static_cast<std::size_t>(depth), x.shape().size());
  const std::int64_t batches = product(x.shape(), 0, batch);
  const std::int64_t batch_size = product(x.shape(), batch, x.shape().size());
  const std::int64_t slices = indices.element_count() / depth;
  HostTensor result = call.result();
  for (std::int64_t i = 0; i < slices; ++i) {
    const std::int64_t offset =
        slice_offset(indices.as<double>() + i * depth, depth, x.shape(), batch);
    if (offset == kOutside) continue;
    std::copy_n(x.as<double>() + i / (slices / batches) * batch_size + offset, slice,
                result.as_mutable<double>() + i * slice);
  }
  return {result};
}

std::vector<HostTensor> scatter_nd(const Call& call) {
  const HostTensor& indices = call.operand(1);
  HostTensor result = call.operand(0).clone();
  const std::string& reduction = call.attributes().text("reduction");
  const std::int64_t depth = indices.shape().back();
  const std::int64_t slice =
      product(result.shape(), static_cast<std::size_t>(depth), result.shape().size());
  for (std::int64_t i = 0; i < indices.element_count() / depth; ++i) {
    const std::int64_t offset =
        slice_offset(indices.as<double>() + i * depth, depth, result.shape(), 0);
    if (offset == kOutside) continue;
    double* to = result.as_mutable<double>() + offset;
    const double* updates = call.operand(2).as<double>() + i * slice;
    for (std::int64_t k = 0; k < slice; ++k) to[k] = reduced(reduction, to[k], updates[k]);
  }
  return {result};
}

/// NaN above all numbers.
bool is_above(double a, double b) { return std::isnan(a) ? !std::isnan(b) : a > b; }

std::vector<HostTensor> top_k(const Call& call) {
  const Around x(call.operand(0).shape(), axis_of(call));
  const std::int64_t k = call.attributes().integer("k");
  const bool largest = call.attributes().boolean("largest");
  HostTensor values(DType::f64, call.result_shapes[0]), places(DType::f64, call.result_shapes[1]);
  Extents order(static_cast<std::size_t>(x.extent));
  for (std::int64_t lane = 0; lane < x.outer * x.inner; ++lane) {
    const std::int64_t outer = lane / x.inner, inner = lane % x.inner;
    const auto at = [&](std::int64_t i) {
      return call.operand(0).as<double>()[(outer * x.extent + i) * x.inner + inner];
    };
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return largest ? is_above(at(a), at(b)) : is_above(at(b), at(a));
    });
    for (std::int64_t i = 0; i < k; ++i) {
      const std::int64_t to = (outer * k + i) * x.inner + inner;
      values.as_mutable<double>()[to] = at(order[static_cast<std::size_t>(i)]);
      places.as_mutable<double>()[to] = static_cast<double>(order[static_cast<std::size_t>(i)]);
    }
  }
  return {values, places};
}

std::vector<HostTensor> reverse_sequence(const Call& call) {
  const HostTensor& x = call.operand(0);
  HostTensor result = call.result();
  const auto batch_axis = static_cast<std::size_t>(call.attributes().integer("batch_axis"));
  const auto time_axis = static_cast<std::size_t>(call.attributes().integer("time_axis"));
  const std::int64_t times = x.shape()[time_axis];
  const std::int64_t step = row_major_strides(x.shape())[time_axis];
  const std::int64_t batch_step = row_major_strides(x.shape())[batch_axis];
  for (std::int64_t i = 0; i < x.element_count(); ++i) {
    const std::int64_t time = i / step % times;
    const std::int64_t batch = i / batch_step % x.shape()[batch_axis];
    const auto length =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(call.operand(1).at(batch)), 0, times);
    const std::int64_t from = time < length ? length - 1 - time : time;
    result.as_mutable<double>()[i] = x.as<double>()[i + (from - time) * step];
  }
  return {result};
}

std::vector<HostTensor> strided_slice(const Call& call) {
  const Around x(call.operand(0).shape(), axis_of(call));
  const Attributes& a = call.attributes();
  HostTensor result = call.result();
  double* to = result.as_mutable<double>();
  for (std::int64_t outer = 0; outer < x.outer; ++outer) {
    for (std::int64_t i = 0; i < a.integer("count"); ++i) {
      const std::int64_t from = outer * x.extent + a.integer("start") + i * a.integer("step");
      to = std::copy_n(call.operand(0).as<double>() + from * x.inner, x.inner, to);
    }
  }
  return {result};
}

}  // namespace

void add_indexing_ops(EvaluatorTable& table) {
  table["gather"] = gather;
  table["scatter_add"] = scatter_add;
  table["gather_elements"] = gather_elements;
  table["gather_nd"] = gather_nd;
  table["scatter_elements"] = scatter_elements;
  table["scatter_nd"] = scatter_nd;
  table["top_k"] = top_k;
  table["reverse_sequence"] = reverse_sequence;
  table["strided_slice"] = strided_slice;
}

}  // namespace facet::reference
