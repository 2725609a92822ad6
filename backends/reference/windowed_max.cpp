// max_pool_dilated, its gradient, and max_pool_indices.

#include <cmath>
#include <limits>

#include "backends/reference/evaluators.h"
#include "backends/reference/sliding.h"

namespace facet::reference {
namespace {

/// For every element of `pooled`, the place in x of the first largest element of its window; -1 for
/// a window without taps. A NaN counts as largest.
std::vector<std::int64_t> winners(const Call& call, const HostTensor& x, const Extents& pooled) {
  const std::vector<Tap> taps = sliding_taps(spatial(x.shape()), call.attributes().ints("kernel"),
                                             spatial(pooled), call.attributes());
  const std::int64_t image = product(x.shape(), 2, x.shape().size());
  const std::int64_t places = product(pooled, 2, pooled.size());
  std::vector<std::int64_t> result(static_cast<std::size_t>(product(pooled)), -1);
  for (std::int64_t plane = 0; plane < pooled[0] * pooled[1]; ++plane) {
    for (const Tap& tap : taps) {
      std::int64_t& best = result[static_cast<std::size_t>(plane * places + tap.output)];
      const std::int64_t i = plane * image + tap.input;
      if (best < 0 || (!std::isnan(x.at(best)) && !(x.at(i) <= x.at(best)))) best = i;
    }
  }
  return result;
}

std::vector<HostTensor> max_pool_dilated(const Call& call) {
  HostTensor y = call.result();
  double* to = y.as_mutable<double>();
  for (const std::int64_t winner : winners(call, call.operand(0), y.shape())) {
    *to++ = winner < 0 ? -std::numeric_limits<double>::infinity() : call.operand(0).at(winner);
  }
  return {y};
}

std::vector<HostTensor> max_pool_dilated_bwd(const Call& call) {
  const HostTensor& dy = call.operand(0);
  HostTensor dx = call.result();
  const double* from = dy.as<double>();
  for (const std::int64_t winner : winners(call, call.operand(1), dy.shape())) {
    if (winner >= 0) dx.as_mutable<double>()[winner] += *from;
    ++from;
  }
  return {dx};
}

/// `place` with the spatial axes of `shape` counted in the opposite order.
std::int64_t column_major(std::int64_t place, const Extents& shape) {
  const std::int64_t image = product(shape, 2, shape.size());
  std::int64_t rest = place % image;
  std::int64_t at = 0;
  std::int64_t faster = image;  // elements of an axis and of those behind it in this order
  for (std::size_t axis = shape.size(); axis-- > 2;) {
    faster /= shape[axis];
    at += rest % shape[axis] * faster;
    rest /= shape[axis];
  }
  return place - place % image + at;
}

std::vector<HostTensor> max_pool_indices(const Call& call) {
  HostTensor y = call.result();
  double* to = y.as_mutable<double>();
  const bool opposite = call.attributes().boolean("column_major");
  for (const std::int64_t winner : winners(call, call.operand(0), y.shape())) {
    const bool changes = opposite && winner >= 0;
    *to++ = static_cast<double>(changes ? column_major(winner, call.operand(0).shape()) : winner);
  }
  return {y};
}

}  // namespace

void add_windowed_max_ops(EvaluatorTable& table) {
  table["max_pool_dilated"] = max_pool_dilated;
  table["max_pool_dilated_bwd"] = max_pool_dilated_bwd;
  table["max_pool_indices"] = max_pool_indices;
}

}  // namespace facet::reference
