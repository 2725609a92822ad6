#include "backends/reference/columns.h"

namespace facet::reference {
namespace {

/// Calls visit(place of the image or -1, place of the columns) for every element of the columns.
template <class Visit>
void for_each_tap(std::int64_t channels, const Window& window, Visit visit) {
  std::int64_t place = 0;
  for (std::int64_t row = 0; row < channels * window.taps(); ++row) {
    const std::int64_t plane = row / window.taps() * window.input_plane();
    const std::int64_t kh = row % window.taps() / window.kernel_w;
    const std::int64_t kw = row % window.taps() % window.kernel_w;
    for (std::int64_t oh = 0; oh < window.output_h; ++oh) {
      const std::int64_t h = oh * window.strides[0] - window.pads[0] + kh * window.dilations[0];
      for (std::int64_t ow = 0; ow < window.output_w; ++ow) {
        const std::int64_t w = ow * window.strides[1] - window.pads[1] + kw * window.dilations[1];
        const bool inside = h >= 0 && h < window.input_h && w >= 0 && w < window.input_w;
        visit(inside ? plane + h * window.input_w + w : -1, place++);
      }
    }
  }
}

}  // namespace

Window::Window(const Ints& x, const Ints& weight, const Ints& result, const Attributes& attributes)
    : input_h(x[2]),
      input_w(x[3]),
      kernel_h(weight[2]),
      kernel_w(weight[3]),
      output_h(result[2]),
      output_w(result[3]),
      strides(attributes.ints("strides")),
      pads(attributes.ints("pads")),
      dilations(attributes.ints("dilations")) {}

void gather_columns(const double* image, std::int64_t channels, const Window& window,
                    double* columns) {
  for_each_tap(channels, window, [&](std::int64_t from, std::int64_t to) {
    columns[to] = from >= 0 ? image[from] : 0;
  });
}

void scatter_columns(const double* columns, std::int64_t channels, const Window& window,
                     double* image) {
  for_each_tap(channels, window, [&](std::int64_t to, std::int64_t from) {
    if (to >= 0) image[to] += columns[from];
  });
}

}  // namespace facet::reference
