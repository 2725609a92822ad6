// deform_sample and its gradient.

#include <cmath>

#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

/// One sample: where it lies in the results, its plane of x, and where it is taken from.
struct Sample {
  std::int64_t y, plane, row_offset, column_offset;  ///< places in y, x (of its origin) and offset
  double row, column;
};

/// Calls visit(sample) for every sample, at its place moved by its offset.
template <class Visit>
void for_each_sample(const Call& call, const HostTensor& x, const HostTensor& offset,
                     const Extents& y, Visit visit) {
  const Attributes& a = call.attributes();
  const Ints& kernel = a.ints("kernel");
  const Ints& strides = a.ints("strides");
  const Ints& pads = a.ints("pads");
  const Ints& dilations = a.ints("dilations");
  const std::int64_t taps = kernel[0] * kernel[1];
  const std::int64_t image = x.shape()[2] * x.shape()[3];
  const std::int64_t places = y[2] * y[3];
  const std::int64_t per_group = x.shape()[1] / a.integer("offset_groups");
  for (std::int64_t i = 0; i < product(y); ++i) {
    const std::int64_t place = i % places;
    const std::int64_t tap = i / places % taps;
    const std::int64_t channel = i / places / taps % x.shape()[1];
    const std::int64_t n = i / places / taps / x.shape()[1];
    const std::int64_t map = n * offset.shape()[1] + 2 * (channel / per_group * taps + tap);
    Sample sample{i,
                  (n * x.shape()[1] + channel) * image,
                  map * places + place,
                  (map + 1) * places + place,
                  0,
                  0};
    sample.row =
        static_cast<double>(place / y[3] * strides[0] - pads[0] + tap / kernel[1] * dilations[0]) +
        offset.at(sample.row_offset);
    sample.column =
        static_cast<double>(place % y[3] * strides[1] - pads[1] + tap % kernel[1] * dilations[1]) +
        offset.at(sample.column_offset);
    visit(sample);
  }
}

/// Calls visit(place in x, weight, d weight / d row, d weight / d column) for the corners around a
/// sample that lie inside.
template <class Visit>
void for_each_corner(const Sample& sample, const Extents& x, Visit visit) {
  // Offsets are data: a sample far away, or one that is no number, has no corners.
  if (!(sample.row > -1 && sample.row < static_cast<double>(x[2]) && sample.column > -1 &&
        sample.column < static_cast<double>(x[3]))) {
    return;
  }
  const double top = std::floor(sample.row), left = std::floor(sample.column);
  const double down = sample.row - top, right = sample.column - left;
  for (int corner = 0; corner < 4; ++corner) {
    const bool lower = corner / 2 == 1, later = corner % 2 == 1;
    const std::int64_t h = static_cast<std::int64_t>(top) + (lower ? 1 : 0);
    const std::int64_t w = static_cast<std::int64_t>(left) + (later ? 1 : 0);
    if (h < 0 || h >= x[2] || w < 0 || w >= x[3]) continue;
    const double by_row = lower ? down : 1 - down;
    const double by_column = later ? right : 1 - right;
    visit(sample.plane + h * x[3] + w, by_row * by_column, lower ? by_column : -by_column,
          later ? by_row : -by_row);
  }
}

std::vector<HostTensor> deform_sample(const Call& call) {
  const HostTensor& x = call.operand(0);
  HostTensor y = call.result();
  for_each_sample(call, x, call.operand(1), y.shape(), [&](const Sample& sample) {
    for_each_corner(sample, x.shape(), [&](std::int64_t i, double weight, double, double) {
      y.as_mutable<double>()[sample.y] += weight * x.at(i);
    });
  });
  return {y};
}

std::vector<HostTensor> deform_sample_bwd(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& x = call.operand(1);
  HostTensor dx = call.result();
  HostTensor doffset(DType::f64, call.operand(2).shape());
  for_each_sample(call, x, call.operand(2), dy.shape(), [&](const Sample& sample) {
    const double cotangent = dy.at(sample.y);
    for_each_corner(sample, x.shape(),
                    [&](std::int64_t i, double weight, double by_row, double by_column) {
                      double* moved = doffset.as_mutable<double>();
                      dx.as_mutable<double>()[i] += cotangent * weight;
                      moved[sample.row_offset] += cotangent * by_row * x.at(i);
                      moved[sample.column_offset] += cotangent * by_column * x.at(i);
                    });
  });
  return {dx, doffset};
}

}  // namespace

void add_deform_ops(EvaluatorTable& table) {
  table["deform_sample"] = deform_sample;
  table["deform_sample_bwd"] = deform_sample_bwd;
}

}  // namespace facet::reference
