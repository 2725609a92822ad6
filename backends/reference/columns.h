#pragma once

#include <cstdint>

#include "ir/attributes.h"

namespace facet::reference {

/// The sliding window of a convolution: how output places map to input places.
struct Window {
  std::int64_t input_h, input_w;
  std::int64_t kernel_h, kernel_w;
  std::int64_t output_h, output_w;
  Ints strides, pads, dilations;

  /// Of x [.., .., h, w], weight [.., .., h, w] and result [.., .., h, w].
  Window(const Ints& x, const Ints& weight, const Ints& result, const Attributes& attributes);

  std::int64_t taps() const { return kernel_h * kernel_w; }
  std::int64_t input_plane() const { return input_h * input_w; }
  std::int64_t output_plane() const { return output_h * output_w; }
};

/// columns [channels * kernel_h * kernel_w, output_h * output_w] of image [channels, input_h,
/// input_w]; places outside the image are zero.
void gather_columns(const double* image, std::int64_t channels, const Window& window,
                    double* columns);
/// The adjoint: adds every column element to the place of the image it would be gathered from.
void scatter_columns(const double* columns, std::int64_t channels, const Window& window,
                     double* image);

}  // namespace facet::reference
