#pragma once

#include <cstdint>
#include <vector>

#include "ir/attributes.h"

namespace facet {

/// How the op `resize` makes one axis: element o of the result is the sum of weight[i] *
/// x[index[i]] over first[o] <= i < first[o + 1]. Without taps the element lies outside of x.
struct ResampleTable {
  std::int64_t in = 0;  ///< extent of x; that of the result is first.size() - 1
  std::vector<std::int64_t> first{0};
  std::vector<std::int64_t> index;
  std::vector<double> weight;

  std::int64_t out() const { return static_cast<std::int64_t>(first.size()) - 1; }
  /// Whether every element is x's of the same place.
  bool is_identity() const;
  /// The adjoint: from results to elements of x.
  ResampleTable transposed() const;
};

/// The table of axis `axis` for attributes of `resize` or `resize_bwd`, from `in` to `out`
/// elements, both positive. Formulas: ONNX, operator Resize. A coordinate beyond the edge reads the
/// edge, but for tf_crop_and_resize, where it lies outside.
ResampleTable resample_table(const Attributes& attributes, std::size_t axis, std::int64_t in,
                             std::int64_t out);

}  // namespace facet
