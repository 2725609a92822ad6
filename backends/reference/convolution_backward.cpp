// conv_bwd_data, conv_bwd_weights: the adjoints of the matrix products in convolution.cpp, one per
// image and group.

#include <algorithm>
#include <numeric>

#include "backends/reference/columns.h"
#include "backends/reference/evaluators.h"
#include "backends/reference/gemm.h"

namespace facet::reference {
namespace {

/// dx = the columns (weight^T dy), scattered back to where the forward gathers them.
std::vector<HostTensor> conv_bwd_data(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& weight = call.operand(1);
  HostTensor dx = call.result();
  const Window window(dx.shape(), weight.shape(), dy.shape(), call.attributes());
  const std::int64_t groups = call.attributes().integer("groups");
  const std::int64_t in = weight.shape()[1];            // per group
  const std::int64_t out = weight.shape()[0] / groups;  // per group
  const std::int64_t rows = in * window.taps();
  const std::int64_t plane = window.output_plane();
  HostTensor columns(DType::f64, {rows, plane});
  for (std::int64_t i = 0; i < dy.shape()[0] * groups; ++i) {
    multiply({weight.as<double>() + i % groups * out * rows, true},
             {dy.as<double>() + i * out * plane}, columns.as_mutable<double>(), rows, out, plane);
    scatter_columns(columns.as<double>(), in, window,
                    dx.as_mutable<double>() + i * in * window.input_plane());
  }
  return {dx};
}

HostTensor bias_gradient(const HostTensor& dy) {
  HostTensor dbias(DType::f64, {dy.shape()[1]});
  const std::int64_t plane = dy.shape()[2] * dy.shape()[3];
  for (std::int64_t row = 0; row < dy.shape()[0] * dy.shape()[1]; ++row) {
    const double* from = dy.as<double>() + row * plane;
    dbias.as_mutable<double>()[row % dy.shape()[1]] += std::accumulate(from, from + plane, 0.0);
  }
  return dbias;
}

/// dw = the sum over the images of dy columns^T.
std::vector<HostTensor> conv_bwd_weights(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& x = call.operand(1);
  HostTensor dweight = call.result();
  const Window window(x.shape(), dweight.shape(), dy.shape(), call.attributes());
  const std::int64_t groups = call.attributes().integer("groups");
  const std::int64_t in = dweight.shape()[1];            // per group
  const std::int64_t out = dweight.shape()[0] / groups;  // per group
  const std::int64_t rows = in * window.taps();
  const std::int64_t plane = window.output_plane();
  HostTensor columns(DType::f64, {rows, plane});
  HostTensor part(DType::f64, {out, rows});
  for (std::int64_t i = 0; i < x.shape()[0] * groups; ++i) {
    gather_columns(x.as<double>() + i * in * window.input_plane(), in, window,
                   columns.as_mutable<double>());
    multiply({dy.as<double>() + i * out * plane}, {columns.as<double>(), true},
             part.as_mutable<double>(), out, plane, rows);
    double* to = dweight.as_mutable<double>() + i % groups * out * rows;
    std::transform(to, to + out * rows, part.as<double>(), to, std::plus<>());
  }
  if (!call.attributes().boolean("bias")) return {dweight};
  return {dweight, bias_gradient(dy)};
}

}  // namespace

void add_convolution_backward_ops(EvaluatorTable& table) {
  table["conv_bwd_data"] = conv_bwd_data;
  table["conv_bwd_weights"] = conv_bwd_weights;
}

}  // namespace facet::reference
