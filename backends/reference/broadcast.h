#pragma once

#include "backends/reference/evaluators.h"

namespace facet::reference {

/// `tensor` repeated to `shape` as NumPy broadcasts; the tensor itself if it has that shape
/// already.
HostTensor broadcast_to(const HostTensor& tensor, const Extents& shape);

/// A vector [C] (or [1]) seen as a tensor of `rank` with its values along `axis`.
HostTensor along_axis(const HostTensor& vector, std::size_t axis, std::int64_t rank);

/// Elements between neighbours along each axis of a dense row-major tensor.
Extents row_major_strides(const Extents& shape);

/// Calls visit(i, offset) for every row-major index i of `shape`; `offset` is the dot product of
/// the index along each axis with `strides`.
template <class Visit>
void for_each_offset(const Extents& shape, const Extents& strides, Visit visit) {
  const std::int64_t count = product(shape);
  Extents index(shape.size(), 0);
  std::int64_t offset = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    visit(i, offset);
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      offset += strides[axis];
      if (++index[axis] < shape[axis]) break;
      offset -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

}  // namespace facet::reference
