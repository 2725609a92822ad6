// conv, conv_branches: a matrix product per image and group, of the weights with the image's
// patches as columns.

#include <algorithm>

#include "backends/reference/epilogue.h"
#include "backends/reference/evaluators.h"
#include "backends/reference/gemm.h"

namespace facet::reference {
namespace {

/// The sliding window: how output places map to input places.
struct Window {
  std::int64_t input_h, input_w;
  std::int64_t kernel_h, kernel_w;
  std::int64_t output_h, output_w;
  Ints strides, pads, dilations;
};

/// columns [channels * kernel_h * kernel_w, output_h * output_w] of image [channels, input_h,
/// input_w]; places outside the image are zero.
void gather_columns(const double* image, std::int64_t channels, const Window& window,
                    double* columns) {
  const std::int64_t taps = window.kernel_h * window.kernel_w;
  for (std::int64_t row = 0; row < channels * taps; ++row) {
    const double* plane = image + row / taps * window.input_h * window.input_w;
    const std::int64_t kh = row % taps / window.kernel_w;
    const std::int64_t kw = row % taps % window.kernel_w;
    double* out = columns + row * window.output_h * window.output_w;
    for (std::int64_t oh = 0; oh < window.output_h; ++oh) {
      const std::int64_t h = oh * window.strides[0] - window.pads[0] + kh * window.dilations[0];
      for (std::int64_t ow = 0; ow < window.output_w; ++ow) {
        const std::int64_t w = ow * window.strides[1] - window.pads[1] + kw * window.dilations[1];
        const bool inside = h >= 0 && h < window.input_h && w >= 0 && w < window.input_w;
        *out++ = inside ? plane[h * window.input_w + w] : 0;
      }
    }
  }
}

/// The whole convolution into `result`, without epilogue.
void convolve(const Call& call, HostTensor& result) {
  const HostTensor& x = call.operand(0);
  const HostTensor& weight = call.operand(1);
  const Window window{x.shape()[2],
                      x.shape()[3],
                      weight.shape()[2],
                      weight.shape()[3],
                      result.shape()[2],
                      result.shape()[3],
                      call.attributes().ints("strides"),
                      call.attributes().ints("pads"),
                      call.attributes().ints("dilations")};
  const std::int64_t groups = call.attributes().integer("groups");
  const std::int64_t in = weight.shape()[1];            // per group
  const std::int64_t out = weight.shape()[0] / groups;  // per group
  const std::int64_t taps = window.kernel_h * window.kernel_w;
  const std::int64_t in_plane = window.input_h * window.input_w;
  const std::int64_t out_plane = window.output_h * window.output_w;
  HostTensor columns(DType::f64, {in * taps, out_plane});
  // Images and groups lie behind one another, in the input as in the result.
  for (std::int64_t i = 0; i < x.shape()[0] * groups; ++i) {
    gather_columns(x.as<double>() + i * in * in_plane, in, window, columns.as_mutable<double>());
    multiply({weight.as<double>() + i % groups * out * in * taps}, {columns.as<double>()},
             result.as_mutable<double>() + i * out * out_plane, out, in * taps, out_plane);
  }
}

std::vector<HostTensor> conv(const Call& call) {
  HostTensor result = call.result();
  convolve(call, result);
  apply_epilogue(call, result, 1);
  return {result};
}

/// The wide convolution, cut along its channels.
std::vector<HostTensor> conv_branches(const Call& call) {
  std::vector<HostTensor> results;
  const Ints& channels = call.attributes().ints("channels");
  Ints extents = call.result().shape();
  extents[1] = call.operand(1).shape()[0];
  HostTensor wide(DType::f64, extents);
  convolve(call, wide);
  apply_epilogue(call, wide, 1);
  const std::int64_t plane = extents[2] * extents[3];
  std::int64_t start = 0;
  for (const std::int64_t count : channels) {
    HostTensor part(DType::f64, {extents[0], count, extents[2], extents[3]});
    for (std::int64_t n = 0; n < extents[0]; ++n) {
      const double* const from = wide.as<double>() + (n * extents[1] + start) * plane;
      std::copy(from, from + count * plane, part.as_mutable<double>() + n * count * plane);
    }
    results.push_back(std::move(part));
    start += count;
  }
  return results;
}

}  // namespace

void add_convolution_ops(EvaluatorTable& table) {
  table["conv"] = conv;
  table["conv_branches"] = conv_branches;
}

}  // namespace facet::reference
