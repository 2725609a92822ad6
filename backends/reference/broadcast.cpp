#include "backends/reference/broadcast.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ir/error.h"

namespace facet::reference {

Extents row_major_strides(const Extents& shape) {
  Extents strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

HostTensor broadcast_to(const HostTensor& tensor, const Extents& shape) {
  if (tensor.shape() == shape) return tensor;
  const auto fail = [&] {
    return failure(fmt::format("[{}] does not broadcast to [{}]", fmt::join(tensor.shape(), ", "),
                               fmt::join(shape, ", ")));
  };
  if (tensor.shape().size() > shape.size()) throw fail();
  const Extents own = row_major_strides(tensor.shape());
  const std::size_t missing = shape.size() - tensor.shape().size();
  Extents strides(shape.size(), 0);
  for (std::size_t axis = missing; axis < shape.size(); ++axis) {
    const std::int64_t extent = tensor.shape()[axis - missing];
    if (extent != shape[axis] && extent != 1) throw fail();
    strides[axis] = extent == 1 ? 0 : own[axis - missing];
  }
  HostTensor result(DType::f64, shape);
  const double* from = tensor.as<double>();
  double* to = result.as_mutable<double>();
  for_each_offset(shape, strides,
                  [&](std::int64_t i, std::int64_t offset) { to[i] = from[offset]; });
  return result;
}

HostTensor along_axis(const HostTensor& vector, std::size_t axis, std::int64_t rank) {
  Extents shape(static_cast<std::size_t>(rank), 1);
  shape.at(axis) = vector.element_count();
  return vector.reshaped(shape);
}

}  // namespace facet::reference
