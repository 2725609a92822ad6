// resize and resize_bwd: one axis after the other, by the op's table of weights.

#include "backends/reference/evaluators.h"
#include "ir/resample.h"

namespace facet::reference {
namespace {

/// x with axis `axis` resampled; a result element without taps is zero.
HostTensor resample(const HostTensor& x, std::size_t axis, const ResampleTable& table) {
  Extents extents = x.shape();
  const std::int64_t outer = product(extents, 0, axis);
  const std::int64_t inner = product(extents, axis + 1, extents.size());
  extents[axis] = table.out();
  HostTensor y(DType::f64, extents);
  for (std::int64_t n = 0; n < outer; ++n) {
    for (std::int64_t o = 0; o < table.out(); ++o) {
      const auto place = static_cast<std::size_t>(o);
      for (std::int64_t i = table.first[place]; i < table.first[place + 1]; ++i) {
        const auto tap = static_cast<std::size_t>(i);
        const double* from = x.as<double>() + (n * table.in + table.index[tap]) * inner;
        double* to = y.as_mutable<double>() + (n * table.out() + o) * inner;
        for (std::int64_t k = 0; k < inner; ++k) to[k] += table.weight[tap] * from[k];
      }
    }
  }
  return y;
}

/// Sets what lies outside of x along `axis`.
void extrapolate(HostTensor& y, std::size_t axis, const ResampleTable& table, double value) {
  const std::int64_t inner = product(y.shape(), axis + 1, y.shape().size());
  for (std::int64_t i = 0; i < y.element_count(); ++i) {
    const auto o = static_cast<std::size_t>(i / inner % table.out());
    if (table.first[o] == table.first[o + 1]) y.as_mutable<double>()[i] = value;
  }
}

std::vector<HostTensor> resize(const Call& call) {
  const Ints& sizes = call.attributes().ints("sizes");
  const Extents& in = call.operand(0).shape();
  HostTensor y = call.operand(0);
  std::vector<std::pair<std::size_t, ResampleTable>> passes;
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
    if (sizes[axis] == 0) continue;
    passes.emplace_back(axis, resample_table(call.attributes(), axis, in[axis], sizes[axis]));
    y = resample(y, axis, passes.back().second);
  }
  for (const auto& [axis, table] : passes) {
    extrapolate(y, axis, table, call.attributes().number("extrapolation"));
  }
  return {y};
}

std::vector<HostTensor> resize_bwd(const Call& call) {
  const Ints& sizes = call.attributes().ints("sizes");
  HostTensor dx = call.operand(0);
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
    if (sizes[axis] == 0) continue;
    const ResampleTable table =
        resample_table(call.attributes(), axis, call.shape()[axis], sizes[axis]);
    dx = resample(dx, axis, table.transposed());
  }
  return {dx};
}

}  // namespace

void add_resize_ops(EvaluatorTable& table) {
  table["resize"] = resize;
  table["resize_bwd"] = resize_bwd;
}

}  // namespace facet::reference
