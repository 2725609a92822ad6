// conv3d with its gradients, and conv_transpose: sums over products, straight from the definition.

#include "backends/reference/evaluators.h"
#include "backends/reference/sliding.h"

namespace facet::reference {
namespace {

/// Calls visit(y, weight, x), places in the three tensors, for every product of a convolution of an
/// image x with weight [O, C/groups, ...] to y.
template <class Visit>
void for_each_product(const Call& call, const Extents& x, const Extents& weight, const Extents& y,
                      Visit visit) {
  const std::vector<Tap> taps =
      sliding_taps(spatial(x), spatial(weight), spatial(y), call.attributes());
  const std::int64_t groups = call.attributes().integer("groups");
  const std::int64_t in = weight[1];            // per group
  const std::int64_t out = weight[0] / groups;  // per group
  const std::int64_t image = product(x, 2, x.size());
  const std::int64_t kernel = product(weight, 2, weight.size());
  const std::int64_t places = product(y, 2, y.size());
  for (std::int64_t n = 0; n < x[0]; ++n) {
    for (std::int64_t o = 0; o < weight[0]; ++o) {
      for (std::int64_t c = 0; c < in; ++c) {
        const std::int64_t plane = (n * x[1] + o / out * in + c) * image;
        for (const Tap& tap : taps) {
          visit((n * weight[0] + o) * places + tap.output, (o * in + c) * kernel + tap.kernel,
                plane + tap.input);
        }
      }
    }
  }
}

std::vector<HostTensor> conv3d(const Call& call) {
  const HostTensor& x = call.operand(0);
  const HostTensor& weight = call.operand(1);
  HostTensor y = call.result();
  double* to = y.as_mutable<double>();
  for_each_product(call, x.shape(), weight.shape(), y.shape(),
                   [&](std::int64_t o, std::int64_t w, std::int64_t i) {
                     to[o] += x.as<double>()[i] * weight.as<double>()[w];
                   });
  return {y};
}

/// dx of a convolution, which is what a transposed one computes: the roles of x and y are swapped.
std::vector<HostTensor> adjoint(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& weight = call.operand(1);
  HostTensor dx = call.result();
  double* to = dx.as_mutable<double>();
  for_each_product(call, dx.shape(), weight.shape(), dy.shape(),
                   [&](std::int64_t o, std::int64_t w, std::int64_t i) {
                     to[i] += dy.as<double>()[o] * weight.as<double>()[w];
                   });
  return {dx};
}

std::vector<HostTensor> conv3d_bwd_weights(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& x = call.operand(1);
  HostTensor dweight = call.result();
  double* to = dweight.as_mutable<double>();
  for_each_product(call, x.shape(), dweight.shape(), dy.shape(),
                   [&](std::int64_t o, std::int64_t w, std::int64_t i) {
                     to[w] += dy.as<double>()[o] * x.as<double>()[i];
                   });
  return {dweight};
}

}  // namespace

void add_volume_ops(EvaluatorTable& table) {
  table["conv3d"] = conv3d;
  table["conv3d_bwd_data"] = adjoint;
  table["conv3d_bwd_weights"] = conv3d_bwd_weights;
  table["conv_transpose"] = adjoint;
}

}  // namespace facet::reference
