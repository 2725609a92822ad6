// roi_align (He et al. 2017, Mask R-CNN, section 3) and its gradient.

#include <algorithm>
#include <array>
#include <cmath>

#include "backends/reference/evaluators.h"

namespace facet::reference {
namespace {

/// A coordinate of one sampling point: y = start + share * length, both linear in the box.
struct Coordinate {
  double at = 0;
  std::array<double, 2> slope{};  ///< derivative by the box's near and far edge
};

/// The two elements of an axis that a point lies between.
struct Pair {
  std::array<std::int64_t, 2> place{};
  std::array<double, 2> weight{};
  double slope = 0;  ///< derivative of weight[1] by the coordinate; weight[0] has the opposite one
};

/// False for a point more than one element outside.
bool lies_between(double at, std::int64_t extent, Pair& pair) {
  if (!(at >= -1 && at <= static_cast<double>(extent))) return false;
  const double inside = std::max(at, 0.0);
  const auto low = static_cast<std::int64_t>(inside);
  if (low >= extent - 1) {
    pair = {{extent - 1, extent - 1}, {1, 0}, 0};
  } else {
    const double rest = inside - static_cast<double>(low);
    pair = {{low, low + 1}, {1 - rest, rest}, at > 0 ? 1.0 : 0.0};
  }
  return true;
}

/// The sampling points of one box along one axis: `points` in each of `bins`.
struct Axis {
  std::int64_t extent, bins, points = 0;
  double start = 0, length = 0, scale = 1;
  bool held = false;  ///< the length was too small and does not follow the box

  Axis(const Attributes& a, double near, double far, std::int64_t size, std::int64_t bin_count)
      : extent(size), bins(bin_count), scale(a.number("spatial_scale")) {
    const bool half_pixel = a.boolean("half_pixel");
    start = near * scale - (half_pixel ? 0.5 : 0);
    length = (far - near) * scale;
    held = !half_pixel && length < 1;
    if (held) length = 1;
    points = a.integer("sampling_ratio");
    if (points > 0) return;
    const double wanted = std::ceil(length / static_cast<double>(bins));
    // A box is sampled once an element; one that is no box, or far larger than any image, is not.
    points = wanted > 0 && wanted <= 4 * static_cast<double>(extent) + 4
                 ? static_cast<std::int64_t>(wanted)
                 : 0;
  }

  Coordinate coordinate(std::int64_t bin, std::int64_t i) const {
    const double share =
        (static_cast<double>(bin) + (static_cast<double>(i) + 0.5) / static_cast<double>(points)) /
        static_cast<double>(bins);
    const double follows = held ? 0 : share;
    return {start + share * length, {scale * (1 - follows), scale * follows}};
  }
};

/// One of the four elements around a sampling point, in the image of a channel.
struct Corner {
  std::int64_t offset;
  double weight;
  std::array<double, 4> slope;  ///< derivative by x1, y1, x2, y2 of the box
};

/// What one bin of one box reads, four corners a sampling point; `points` counts also those
/// outside.
struct Bin {
  std::vector<Corner> corners;
  double points = 1;
};

Bin read_bin(const Axis& h, const Axis& w, std::int64_t row, std::int64_t column) {
  Bin bin;
  bin.points = std::max<double>(static_cast<double>(h.points * w.points), 1);
  for (std::int64_t i = 0; i < h.points * w.points; ++i) {
    const Coordinate y = h.coordinate(row, i / w.points);
    const Coordinate x = w.coordinate(column, i % w.points);
    Pair rows, columns;
    const bool inside = lies_between(y.at, h.extent, rows) && lies_between(x.at, w.extent, columns);
    for (std::size_t k = 0; k < 4; ++k) {
      const std::size_t r = k / 2, c = k % 2;
      if (!inside) {
        bin.corners.push_back({0, 0, {}});
        continue;
      }
      const double by_y = (r == 1 ? rows.slope : -rows.slope) * columns.weight[c];
      const double by_x = (c == 1 ? columns.slope : -columns.slope) * rows.weight[r];
      bin.corners.push_back(
          {rows.place[r] * w.extent + columns.place[c],
           rows.weight[r] * columns.weight[c],
           {by_x * x.slope[0], by_y * y.slope[0], by_x * x.slope[1], by_y * y.slope[1]}});
    }
  }
  return bin;
}

/// The corner whose weighted element is the largest: what the maximum of a bin is taken over, as
/// ONNX's test data has it.
const Corner& largest(const Bin& bin, const double* image) {
  return *std::max_element(bin.corners.begin(), bin.corners.end(),
                           [&](const Corner& a, const Corner& b) {
                             return a.weight * image[a.offset] < b.weight * image[b.offset];
                           });
}

/// Calls visit(box, bin's place in a channel of the result, bin, first channel's row in x) for
/// every bin of a box whose image exists.
template <class Visit>
void for_each_bin(const Attributes& a, const HostTensor& x, const HostTensor& boxes,
                  const HostTensor& images, Visit visit) {
  const std::int64_t rows = a.integer("output_height"), columns = a.integer("output_width");
  for (std::int64_t box = 0; box < boxes.shape()[0]; ++box) {
    const double image = images.at(box);
    if (!(image >= 0 && image < static_cast<double>(x.shape()[0]))) continue;
    const double* edges = boxes.as<double>() + box * 4;
    const Axis h(a, edges[1], edges[3], x.shape()[2], rows);
    const Axis w(a, edges[0], edges[2], x.shape()[3], columns);
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const Bin bin = read_bin(h, w, i / columns, i % columns);
      if (bin.corners.empty()) continue;
      visit(box, i, bin, static_cast<std::int64_t>(image) * x.shape()[1]);
    }
  }
}

std::vector<HostTensor> roi_align(const Call& call) {
  const HostTensor& x = call.operand(0);
  const bool average = call.attributes().text("mode") == "avg";
  const std::int64_t channels = x.shape()[1], pixels = x.shape()[2] * x.shape()[3];
  const std::int64_t bins = product(call.shape(), 2, 4);
  HostTensor result = call.result();
  for_each_bin(call.attributes(), x, call.operand(1), call.operand(2),
               [&](std::int64_t box, std::int64_t i, const Bin& bin, std::int64_t first) {
                 for (std::int64_t c = 0; c < channels; ++c) {
                   const double* image = x.as<double>() + (first + c) * pixels;
                   double& y = result.as_mutable<double>()[(box * channels + c) * bins + i];
                   if (!average) {
                     const Corner& corner = largest(bin, image);
                     y = corner.weight * image[corner.offset];
                     continue;
                   }
                   for (const Corner& k : bin.corners) y += k.weight * image[k.offset] / bin.points;
                 }
               });
  return {result};
}

std::vector<HostTensor> roi_align_bwd(const Call& call) {
  const HostTensor& x = call.operand(1);
  const bool average = call.attributes().text("mode") == "avg";
  const std::int64_t channels = x.shape()[1], pixels = x.shape()[2] * x.shape()[3];
  const std::int64_t bins = product(call.operand(0).shape(), 2, 4);
  HostTensor dx(DType::f64, x.shape()), dboxes(DType::f64, call.operand(2).shape());
  const auto spread = [&](const Corner& corner, std::int64_t box, std::int64_t channel,
                          double gradient) {
    const std::int64_t element = channel * pixels + corner.offset;
    dx.as_mutable<double>()[element] += corner.weight * gradient;
    for (std::size_t edge = 0; edge < 4; ++edge) {
      dboxes.as_mutable<double>()[box * 4 + static_cast<std::int64_t>(edge)] +=
          corner.slope[edge] * x.as<double>()[element] * gradient;
    }
  };
  for_each_bin(call.attributes(), x, call.operand(2), call.operand(3),
               [&](std::int64_t box, std::int64_t i, const Bin& bin, std::int64_t first) {
                 for (std::int64_t c = 0; c < channels; ++c) {
                   const double dy = call.operand(0).as<double>()[(box * channels + c) * bins + i];
                   if (!average) {
                     spread(largest(bin, x.as<double>() + (first + c) * pixels), box, first + c,
                            dy);
                     continue;
                   }
                   for (const Corner& k : bin.corners) spread(k, box, first + c, dy / bin.points);
                 }
               });
  return {dx, dboxes};
}

}  // namespace

void add_roi_align_ops(EvaluatorTable& table) {
  table["roi_align"] = roi_align;
  table["roi_align_bwd"] = roi_align_bwd;
}

}  // namespace facet::reference
