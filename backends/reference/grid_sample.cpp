// grid_sample and its gradient, in any number of spatial dimensions (Jaderberg et al. 2015, Spatial
// Transformer Networks; cubic weights by Keys 1981 with a = -0.75).

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "backends/reference/broadcast.h"
#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

/// One element along an axis that a point reads: its weight, and the weight's derivative by the
/// point's coordinate in the grid. Places outside the image read zero.
struct Tap {
  std::int64_t place = -1;
  double weight = 0;
  double slope = 0;
};
using Taps = std::vector<Tap>;

/// A coordinate in elements and its derivative by the one in the grid.
struct Position {
  double at = 0;
  double slope = 0;
};

struct Sampling {
  std::string mode, padding;
  bool align_corners;

  explicit Sampling(const Attributes& a)
      : mode(a.text("mode")),
        padding(a.text("padding")),
        align_corners(a.boolean("align_corners")) {}

  double low() const { return align_corners ? 0 : -0.5; }
  double high(std::int64_t extent) const {
    return static_cast<double>(extent) - (align_corners ? 1 : 0.5);
  }

  /// Mirrored at the borders until it lies between them.
  Position reflect(Position p, std::int64_t extent) const {
    const double width = high(extent) - low();
    if (width <= 0) return {low(), 0};
    const double distance = p.at - low();
    const double rest = std::fmod(std::fabs(distance), 2 * width);
    const bool back = rest > width;
    return {low() + (back ? 2 * width - rest : rest),
            p.slope * (distance < 0 ? -1 : 1) * (back ? -1 : 1)};
  }

  /// Where -1 ... 1 is the whole axis.
  Position position(double coordinate, std::int64_t extent) const {
    const auto length = static_cast<double>(extent);
    const double scale = (align_corners ? length - 1 : length) / 2;
    Position p{(coordinate + 1) * scale - (align_corners ? 0 : 0.5), scale};
    if (mode == "nearest") p = {std::nearbyint(p.at), 0};
    if (p.at >= low() && p.at <= high(extent)) return p;
    if (padding == "border") return {std::clamp(p.at, 0.0, length - 1), 0};
    return padding == "reflection" ? reflect(p, extent) : p;
  }

  /// The element that stands at place i of the axis without end.
  std::int64_t place(std::int64_t i, std::int64_t extent) const {
    if (i >= 0 && i < extent) return i;
    if (padding == "border") return std::clamp<std::int64_t>(i, 0, extent - 1);
    if (padding == "zeros") return -1;
    return static_cast<std::int64_t>(reflect({static_cast<double>(i), 0}, extent).at);
  }

  Taps taps(double coordinate, std::int64_t extent) const {
    const Position p = position(coordinate, extent);
    if (!(std::fabs(p.at) < 1e15)) return {};  // far outside, or no number
    const auto first = static_cast<std::int64_t>(std::floor(p.at));
    const double t = p.at - std::floor(p.at);
    const auto tap = [&](std::int64_t i, double weight, double slope) {
      return Tap{place(first + i, extent), weight, slope * p.slope};
    };
    if (mode == "nearest") return {tap(0, 1, 0)};
    if (mode == "linear") return {tap(0, 1 - t, -1), tap(1, t, 1)};
    return {tap(-1, outer(1 + t), outer_slope(1 + t)), tap(0, inner(t), inner_slope(t)),
            tap(1, inner(1 - t), -inner_slope(1 - t)), tap(2, outer(2 - t), -outer_slope(2 - t))};
  }

  static constexpr double kA = -0.75;
  static double inner(double d) { return ((kA + 2) * d - (kA + 3)) * d * d + 1; }
  static double inner_slope(double d) { return (3 * (kA + 2) * d - 2 * (kA + 3)) * d; }
  static double outer(double d) { return ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA; }
  static double outer_slope(double d) { return (3 * kA * d - 10 * kA) * d + 8 * kA; }
};

/// Calls visit(offset, weight, slopes) for every element of an image of extents [shape + 2, end)
/// that the point reads; slopes[d] is the weight's derivative by coordinate d of the grid, which
/// counts the axes from the last one.
template <class Visit>
void for_each_element(const Sampling& sampling, const Extents& shape, const double* point,
                      Visit visit) {
  const std::size_t rank = shape.size() - 2;
  std::vector<Taps> taps;
  Extents counts, standing(rank, 0);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    taps.push_back(sampling.taps(point[rank - 1 - axis], shape[axis + 2]));
    counts.push_back(static_cast<std::int64_t>(taps.back().size()));
  }
  std::vector<double> slopes(rank);
  for_each_offset(counts, standing, [&](std::int64_t i, std::int64_t) {
    std::int64_t offset = 0, step = 1, rest = i;
    double weight = 1;
    std::fill(slopes.begin(), slopes.end(), 1.0);
    for (std::size_t axis = rank; axis-- > 0;) {
      const Tap& tap = taps[axis][static_cast<std::size_t>(rest % counts[axis])];
      rest /= counts[axis];
      if (tap.place < 0) return;
      offset += tap.place * step;
      step *= shape[axis + 2];
      weight *= tap.weight;
      for (std::size_t d = 0; d < rank; ++d) {
        slopes[d] *= d == rank - 1 - axis ? tap.slope : tap.weight;
      }
    }
    visit(offset, weight, slopes);
  });
}

/// Extents of a call: images [batch, channels, pixels], points [batch, points, rank].
struct Sizes {
  std::int64_t batch, channels, pixels, points, rank;
  Sizes(const HostTensor& x, const HostTensor& grid)
      : batch(x.shape()[0]),
        channels(x.shape()[1]),
        pixels(product(x.shape(), 2, x.shape().size())),
        points(product(grid.shape(), 1, grid.shape().size() - 1)),
        rank(grid.shape().back()) {}
};

std::vector<HostTensor> grid_sample(const Call& call) {
  const HostTensor &x = call.operand(0), &grid = call.operand(1);
  const Sampling sampling(call.attributes());
  const Sizes s(x, grid);
  HostTensor result = call.result();
  for (std::int64_t n = 0; n < s.batch; ++n) {
    for (std::int64_t p = 0; p < s.points; ++p) {
      const double* point = grid.as<double>() + (n * s.points + p) * s.rank;
      for_each_element(sampling, x.shape(), point,
                       [&](std::int64_t offset, double weight, const std::vector<double>&) {
                         for (std::int64_t c = n * s.channels; c < (n + 1) * s.channels; ++c) {
                           result.as_mutable<double>()[c * s.points + p] +=
                               weight * x.as<double>()[c * s.pixels + offset];
                         }
                       });
    }
  }
  return {result};
}

std::vector<HostTensor> grid_sample_bwd(const Call& call) {
  const HostTensor &dy = call.operand(0), &x = call.operand(1), &grid = call.operand(2);
  const Sampling sampling(call.attributes());
  const Sizes s(x, grid);
  HostTensor dx(DType::f64, x.shape()), dgrid(DType::f64, grid.shape());
  for (std::int64_t n = 0; n < s.batch; ++n) {
    for (std::int64_t p = 0; p < s.points; ++p) {
      const std::int64_t at = (n * s.points + p) * s.rank;
      for_each_element(sampling, x.shape(), grid.as<double>() + at,
                       [&](std::int64_t offset, double weight, const std::vector<double>& slopes) {
                         for (std::int64_t c = n * s.channels; c < (n + 1) * s.channels; ++c) {
                           const double gradient = dy.as<double>()[c * s.points + p];
                           const std::int64_t pixel = c * s.pixels + offset;
                           dx.as_mutable<double>()[pixel] += weight * gradient;
                           for (std::size_t d = 0; d < slopes.size(); ++d) {
                             dgrid.as_mutable<double>()[at + static_cast<std::int64_t>(d)] +=
                                 slopes[d] * x.as<double>()[pixel] * gradient;
                           }
                         }
                       });
    }
  }
  return {dx, dgrid};
}

}  // namespace

void add_grid_sample_ops(EvaluatorTable& table) {
  table["grid_sample"] = grid_sample;
  table["grid_sample_bwd"] = grid_sample_bwd;
}

}  // namespace facet::reference
