#pragma once

#include <optional>
#include <vector>

#include "ir/host_tensor.h"

namespace facet {

/// Whole numbers that change evenly along each axis of a grid, as the index tables of relative
/// positions do: element [a, b, ...] is start + a * steps[0] + b * steps[1] + ...
/// It is how the text form spells such a table in one line, whatever its size.
struct IndexTable {
  std::int64_t start = 0;
  std::vector<std::int64_t> counts;  ///< extents of the grid, outermost first, all above 1
  std::vector<std::int64_t> steps;   ///< one for each of `counts`
};

/// The table that `tensor` is, read in row-major order; none for floats, for a single element,
/// for more than 2^22 elements, for values of 2^53 or more, and for those that need a grid of more
/// than four axes.
std::optional<IndexTable> as_index_table(const HostTensor& tensor);

/// The inverse. Throws Error(usage) unless the counts fill the shape, of at most 2^22 elements, and
/// every count has a step.
HostTensor expand(const IndexTable& table, DType dtype, std::vector<std::int64_t> shape);

}  // namespace facet
