#include "ir/resample.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

namespace facet {
namespace {

/// Where element `o` of the result lies among x's; none for outside.
class Coordinates {
 public:
  Coordinates(const Attributes& attributes, std::size_t axis, std::int64_t in, std::int64_t out)
      : mode_(attributes.text("coordinates")),
        in_(static_cast<double>(in)),
        out_(static_cast<double>(out)) {
    const Doubles& scales = attributes.doubles("scales");
    scale_ = scales.empty() ? out_ / in_ : scales[axis];
    resized_ = scales.empty() ? out_ : scale_ * in_;
    const Doubles& roi = attributes.doubles("roi");
    if (roi.empty()) return;
    begin_ = roi[axis];
    end_ = roi[axis + roi.size() / 2];
  }

  double scale() const { return scale_; }

  std::optional<double> operator()(std::int64_t o) const {
    const std::optional<double> x = place(o);
    // All that lies beyond an edge reads the edge, so this changes nothing but keeps numbers small.
    return x ? std::optional(std::clamp(*x, -4 * in_ - 4, 4 * in_ + 4)) : x;
  }

 private:
  std::optional<double> place(std::int64_t o) const {
    const auto x = static_cast<double>(o);
    if (mode_ == "asymmetric") return x / scale_;
    if (mode_ == "align_corners") return resized_ == 1 ? 0 : x * (in_ - 1) / (resized_ - 1);
    if (mode_ == "tf_crop_and_resize") return cropped(x);
    if (mode_ == "pytorch_half_pixel" && out_ == 1) return 0;
    const double half_pixel = (x + 0.5) / scale_ - 0.5;
    // The part of a pixel that rounding the extent down cut off is cut off at both ends.
    if (mode_ == "half_pixel_symmetric") return in_ / 2 * (1 - out_ / resized_) + half_pixel;
    return half_pixel;
  }

  std::optional<double> cropped(double x) const {
    const double inside = out_ > 1
                              ? begin_ * (in_ - 1) + x * (end_ - begin_) * (in_ - 1) / (out_ - 1)
                              : (begin_ + end_) / 2 * (in_ - 1);
    if (inside < 0 || inside > in_ - 1) return std::nullopt;
    return inside;
  }

  std::string mode_;
  double in_, out_;
  double scale_ = 1;
  double resized_ = 1;  ///< the extent before it was rounded
  double begin_ = 0, end_ = 1;
};

double cubic(double distance, double a) {
  const double x = std::fabs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

std::int64_t nearest(const std::string& rounding, double x) {
  if (rounding == "floor") return static_cast<std::int64_t>(std::floor(x));
  if (rounding == "ceil") return static_cast<std::int64_t>(std::ceil(x));
  if (rounding == "round_prefer_ceil") return static_cast<std::int64_t>(std::floor(x + 0.5));
  return static_cast<std::int64_t>(std::ceil(x - 0.5));
}

/// Weights of the kernel around `x` on elements base + first, base + first + 1, ...
class Interpolation {
 public:
  Interpolation(const Attributes& attributes, double scale)
      : cubic_(attributes.text("mode") == "cubic"),
        a_(attributes.number("cubic_coefficient")),
        excludes_(attributes.boolean("exclude_outside")) {
    // A kernel that is as wide as the step keeps a smaller result free of aliases.
    if (attributes.boolean("antialias")) narrowing_ = std::min(scale, 1.0);
    const double radius = cubic_ ? 2 : 1;
    first_ = static_cast<std::int64_t>(std::floor(-radius / narrowing_)) + 1;
  }

  void append(ResampleTable& table, double x) const {
    const auto base = static_cast<std::int64_t>(std::ceil(x)) - 1;
    const double ratio = x - static_cast<double>(base);  // in (0, 1]
    std::vector<double> weights;
    double total = 0;
    for (std::int64_t i = first_; i < 2 - first_; ++i) {
      const bool counts = !excludes_ || (base + i >= 0 && base + i < table.in);
      weights.push_back(counts ? value(narrowing_ * (static_cast<double>(i) - ratio)) : 0);
      total += weights.back();
    }
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] == 0) continue;
      const std::int64_t at = base + first_ + static_cast<std::int64_t>(i);
      table.index.push_back(std::clamp<std::int64_t>(at, 0, table.in - 1));
      table.weight.push_back(weights[i] / total);
    }
  }

 private:
  double value(double distance) const {
    return cubic_ ? cubic(distance, a_) : std::max(1 - std::fabs(distance), 0.0);
  }

  bool cubic_;
  double a_;
  bool excludes_;
  double narrowing_ = 1;
  std::int64_t first_ = 0;
};

/// The taps of the last element become one for each element of x.
void merge_taps(ResampleTable& table, std::size_t start) {
  std::size_t kept = start;
  for (std::size_t i = start; i < table.index.size(); ++i) {
    if (kept > start && table.index[kept - 1] == table.index[i]) {
      table.weight[kept - 1] += table.weight[i];
      continue;
    }
    table.index[kept] = table.index[i];
    table.weight[kept++] = table.weight[i];
  }
  table.index.resize(kept);
  table.weight.resize(kept);
}

}  // namespace

bool ResampleTable::is_identity() const {
  if (out() != in || index.size() != first.size() - 1) return false;
  for (std::int64_t o = 0; o < in; ++o) {
    const auto i = static_cast<std::size_t>(o);
    if (first[i] != o || index[i] != o || weight[i] != 1) return false;
  }
  return true;
}

ResampleTable ResampleTable::transposed() const {
  ResampleTable result;
  result.in = out();
  result.first.assign(static_cast<std::size_t>(in) + 1, 0);
  for (const std::int64_t i : index) ++result.first[static_cast<std::size_t>(i) + 1];
  for (std::size_t i = 1; i < result.first.size(); ++i) result.first[i] += result.first[i - 1];
  result.index.resize(index.size());
  result.weight.resize(index.size());
  std::vector<std::int64_t> next = result.first;
  for (std::size_t o = 0; o + 1 < first.size(); ++o) {
    for (std::int64_t i = first[o]; i < first[o + 1]; ++i) {
      const auto tap = static_cast<std::size_t>(i);
      const auto place = static_cast<std::size_t>(next[static_cast<std::size_t>(index[tap])]++);
      result.index[place] = static_cast<std::int64_t>(o);
      result.weight[place] = weight[tap];
    }
  }
  return result;
}

ResampleTable resample_table(const Attributes& attributes, std::size_t axis, std::int64_t in,
                             std::int64_t out) {
  const Coordinates coordinates(attributes, axis, in, out);
  const Interpolation interpolation(attributes, coordinates.scale());
  const bool takes_nearest = attributes.text("mode") == "nearest";
  ResampleTable table;
  table.in = in;
  for (std::int64_t o = 0; o < out; ++o) {
    const std::size_t start = table.index.size();
    if (const std::optional<double> x = coordinates(o)) {
      if (takes_nearest) {
        const std::int64_t at = nearest(attributes.text("rounding"), *x);
        table.index.push_back(std::clamp<std::int64_t>(at, 0, in - 1));
        table.weight.push_back(1);
      } else {
        interpolation.append(table, *x);
        merge_taps(table, start);
      }
    }
    table.first.push_back(static_cast<std::int64_t>(table.index.size()));
  }
  return table;
}

}  // namespace facet
