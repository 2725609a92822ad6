// max_pool and avg_pool over the last two axes of [N, C, H, W], and their gradients.

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/reference/evaluators.h"
#include "backends/reference/scalar_functions.h"

namespace facet::reference {
namespace {

/// Calls visit(o, i) for every element o of the pooled [N, C, H, W] and every element i of the
/// image that its window covers, in row-major order; padding takes no part.
template <class Visit>
void for_each_pair(const Call& call, const Extents& image, const Extents& pooled, Visit visit) {
  const Ints& kernel = call.attributes().ints("kernel");
  const Ints& strides = call.attributes().ints("strides");
  const Ints& pads = call.attributes().ints("pads");
  for (std::int64_t o = 0; o < product(pooled); ++o) {
    const std::int64_t plane = o / (pooled[2] * pooled[3]) * image[2] * image[3];
    const std::int64_t h0 = o / pooled[3] % pooled[2] * strides[0] - pads[0];
    const std::int64_t w0 = o % pooled[3] * strides[1] - pads[1];
    for (std::int64_t h = std::max<std::int64_t>(h0, 0); h < std::min(h0 + kernel[0], image[2]);
         ++h) {
      for (std::int64_t w = std::max<std::int64_t>(w0, 0); w < std::min(w0 + kernel[1], image[3]);
           ++w) {
        visit(o, plane + h * image[3] + w);
      }
    }
  }
}

double area(const Call& call) {
  return static_cast<double>(product(call.attributes().ints("kernel")));
}

std::vector<HostTensor> max_pool(const Call& call) {
  const HostTensor& x = call.operand(0);
  HostTensor y = call.result();
  double* to = y.as_mutable<double>();
  std::fill(to, to + y.element_count(), -std::numeric_limits<double>::infinity());
  for_each_pair(call, x.shape(), y.shape(), [&](std::int64_t o, std::int64_t i) {
    to[o] = binary_function("maximum")(to[o], x.at(i));
  });
  return {y};
}

/// Padding counts as zeros: the divisor is always the kernel's area.
std::vector<HostTensor> avg_pool(const Call& call) {
  const HostTensor& x = call.operand(0);
  HostTensor y = call.result();
  for_each_pair(call, x.shape(), y.shape(), [&](std::int64_t o, std::int64_t i) {
    y.as_mutable<double>()[o] += x.at(i) / area(call);
  });
  return {y};
}

/// The first largest element of a window takes its cotangent; a NaN counts as largest.
std::vector<HostTensor> max_pool_bwd(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& x = call.operand(1);
  std::vector<std::int64_t> winner(static_cast<std::size_t>(dy.element_count()), -1);
  for_each_pair(call, x.shape(), dy.shape(), [&](std::int64_t o, std::int64_t i) {
    std::int64_t& best = winner[static_cast<std::size_t>(o)];
    const bool better = best < 0 || (!std::isnan(x.at(best)) && !(x.at(i) <= x.at(best)));
    if (better) best = i;
  });
  HostTensor dx = call.result();
  for (std::int64_t o = 0; o < dy.element_count(); ++o) {
    dx.as_mutable<double>()[winner[static_cast<std::size_t>(o)]] += dy.at(o);
  }
  return {dx};
}

std::vector<HostTensor> avg_pool_bwd(const Call& call) {
  const HostTensor& dy = call.operand(0);
  HostTensor dx = call.result();
  for_each_pair(call, dx.shape(), dy.shape(), [&](std::int64_t o, std::int64_t i) {
    dx.as_mutable<double>()[i] += dy.at(o) / area(call);
  });
  return {dx};
}

}  // namespace

void add_pooling_ops(EvaluatorTable& table) {
  table["max_pool"] = max_pool;
  table["avg_pool"] = avg_pool;
  table["max_pool_bwd"] = max_pool_bwd;
  table["avg_pool_bwd"] = avg_pool_bwd;
}

}  // namespace facet::reference
