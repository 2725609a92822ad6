// max_pool and avg_pool over the last two axes of [N, C, H, W].

#include <limits>

#include "backends/reference/evaluators.h"
#include "backends/reference/scalar_functions.h"

namespace facet::reference {
namespace {

/// Calls pool(plane, h0, w0, i) for every result element i; its window begins at (h0, w0) of the
/// input plane, which may lie in the padding.
template <class Pool>
void for_each_window(const Call& call, const HostTensor& result, Pool pool) {
  const HostTensor& x = call.operand(0);
  const Ints& strides = call.attributes().ints("strides");
  const Ints& pads = call.attributes().ints("pads");
  const Extents& out = result.shape();
  const std::int64_t in_plane = x.shape()[2] * x.shape()[3];
  for (std::int64_t i = 0; i < result.element_count(); ++i) {
    const std::int64_t h = i / out[3] % out[2] * strides[0] - pads[0];
    const std::int64_t w = i % out[3] * strides[1] - pads[1];
    pool(x.as<double>() + i / (out[2] * out[3]) * in_plane, h, w, i);
  }
}

/// Folds the window's elements that lie inside the plane; padding takes no part.
double fold(const Call& call, const double* plane, std::int64_t h0, std::int64_t w0, double value,
            BinaryFunction function) {
  const Extents& in = call.operand(0).shape();
  const Ints& kernel = call.attributes().ints("kernel");
  for (std::int64_t h = h0; h < h0 + kernel[0]; ++h) {
    for (std::int64_t w = w0; w < w0 + kernel[1]; ++w) {
      if (h < 0 || h >= in[2] || w < 0 || w >= in[3]) continue;
      value = function(value, plane[h * in[3] + w]);
    }
  }
  return value;
}

std::vector<HostTensor> max_pool(const Call& call) {
  HostTensor result = call.result();
  double* to = result.as_mutable<double>();
  const double nothing = -std::numeric_limits<double>::infinity();
  for_each_window(call, result, [&](const double* plane, std::int64_t h, std::int64_t w, auto i) {
    to[i] = fold(call, plane, h, w, nothing, binary_function("maximum"));
  });
  return {result};
}

/// Padding counts as zeros: the divisor is always the kernel's area.
std::vector<HostTensor> avg_pool(const Call& call) {
  HostTensor result = call.result();
  double* to = result.as_mutable<double>();
  const auto area = static_cast<double>(product(call.attributes().ints("kernel")));
  for_each_window(call, result, [&](const double* plane, std::int64_t h, std::int64_t w, auto i) {
    to[i] = fold(call, plane, h, w, 0, binary_function("add")) / area;
  });
  return {result};
}

}  // namespace

void add_pooling_ops(EvaluatorTable& table) {
  table["max_pool"] = max_pool;
  table["avg_pool"] = avg_pool;
}

}  // namespace facet::reference
