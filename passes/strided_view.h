#pragma once

#include <optional>

#include "ir/graph.h"

namespace facet {

/// A value seen as elements of another one: element [i0, i1, ...] of the value is element
/// offset + i0 * strides[0] + i1 * strides[1] + ... of `base` in row-major order. Extents of 1 have
/// stride 0.
struct StridedView {
  Value base;
  Shape shape;
  Ints strides;
  std::int64_t offset = 0;
  friend bool operator==(const StridedView&, const StridedView&) = default;
};

/// The view that `value` is through the reshapes, transposes and slices ahead of it, as far up as
/// strides can say it; a value that no such op makes is a view of itself. None when an extent of
/// the base other than the first is symbolic.
/// With `factor`, products with a constant number on the way are looked through too, and `factor`
/// becomes their product (1 without any): the value is then factor times the view.
std::optional<StridedView> strided_view(Value value, double* factor = nullptr);

/// The view in another shape of as many elements; none where a new axis would cross elements that
/// do not lie in one row.
std::optional<StridedView> reshaped(const StridedView& view, const Shape& shape);

/// The number that a scalar constant holds, whatever its rank; none for another value.
std::optional<double> scalar_constant(Value value);

}  // namespace facet
