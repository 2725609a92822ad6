#pragma once

#include <string_view>

#include "ir/op.h"

/// Sliding windows over the spatial axes of [N, C, spatial...], of any number of axes.
namespace facet::ops {

/// The attributes strides, dilations (where the op has them) and pads (all at the front, then all
/// at the back) for `axes` spatial axes. Throws Error(usage) unless each has the right count and
/// strides and dilations are at least 1, pads at least 0.
struct Sliding {
  Sliding(const InferContext& context, std::size_t axes);

  const Ints& strides;
  const Ints& pads;
  Ints dilations;

  /// What the window covers along an axis: (kernel - 1) * dilation + 1.
  std::int64_t span(std::size_t axis, std::int64_t kernel) const;
  /// Places of a window of `kernel` taps along an axis of extent `in`. Throws Error(usage) if it
  /// does not fit or the extent is symbolic.
  Dim places(std::size_t axis, const Dim& in, std::int64_t kernel) const;
};

/// Type of the convolution of x [N, C, spatial...] with weight [O, C/groups, kernel...] by the
/// attributes of a conv; both of rank 2 + `axes`. Throws Error(usage).
Type infer_window_product(const InferContext& context, const Type& x, const Type& weight,
                          std::size_t axes);

}  // namespace facet::ops
