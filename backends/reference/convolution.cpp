// conv, conv_branches: a matrix product per image and group, of the weights with the image's
// patches as columns.

#include <algorithm>

#include "backends/reference/columns.h"
#include "backends/reference/epilogue.h"
#include "backends/reference/evaluators.h"
#include "backends/reference/gemm.h"

namespace facet::reference {
namespace {

/// The whole convolution into `result`, without epilogue.
void convolve(const Call& call, HostTensor& result) {
  const HostTensor& x = call.operand(0);
  const HostTensor& weight = call.operand(1);
  const Window window(x.shape(), weight.shape(), result.shape(), call.attributes());
  const std::int64_t groups = call.attributes().integer("groups");
  const std::int64_t in = weight.shape()[1];            // per group
  const std::int64_t out = weight.shape()[0] / groups;  // per group
  const std::int64_t taps = window.taps();
  const std::int64_t in_plane = window.input_plane();
  const std::int64_t out_plane = window.output_plane();
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
