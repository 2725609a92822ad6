#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ir/op.h"
#include "runtime/formats/onnx/node_reader.h"

// Signals and normalisation: DFT and STFT as products with a matrix (so they differentiate and run
// as any product does), windows, mel weights, LpNormalization, MeanVarianceNormalization.

namespace facet::onnx_import {
namespace {

/// Elements of the largest matrix and the longest table that are made: 64 MiB of f32.
constexpr std::int64_t kMostElements = std::int64_t{1} << 24;

/// A transform of `length` points. What it reads of a point: `in` numbers (1: real, 2: real and
/// imaginary part); what it gives: `out`.
struct Transform {
  std::int64_t length = 0;
  std::int64_t read = 0, given = 0;  ///< points
  std::int64_t in = 1, out = 2;
  bool inverse = false;
  bool mirrored = false;  ///< point k also stands for point length - k, which is its conjugate

  /// How much of number `from` of point j goes into number `to` of point k.
  double weight(std::int64_t j, std::int64_t from, std::int64_t k, std::int64_t to) const {
    // The angle of a whole turn would lose digits: j * k is taken modulo the length.
    const double turn =
        2 * std::numbers::pi * static_cast<double>(j * k % length) / static_cast<double>(length);
    const double sine = inverse ? std::sin(turn) : -std::sin(turn);
    double weight = from == to ? std::cos(turn) : from == 0 ? sine : -sine;
    if (inverse) weight /= static_cast<double>(length);
    const bool twice = mirrored && j != 0 && 2 * j != length;
    return twice ? 2 * weight : weight;
  }

  /// As the weight of a linear op: [given * out, read * in].
  HostTensor matrix(DType dtype) const {
    HostTensor result(DType::f64, {given * out, read * in});
    double* to = result.as_mutable<double>();
    for (std::int64_t row = 0; row < given * out; ++row) {
      for (std::int64_t column = 0; column < read * in; ++column) {
        *to++ = weight(column / in, column % in, row / out, row % out);
      }
    }
    return result.cast(dtype);
  }
};

Transform plan_transform(const NodeReader& node, std::int64_t length, std::int64_t in, bool inverse,
                         bool onesided) {
  if (length < 1 || length > kMostElements) {
    node.unsupported(fmt::format("a transform of {} points", length));
  }
  const std::int64_t half = length / 2 + 1;
  Transform t{length, length, length, in, 2, inverse, false};
  if (onesided && inverse) {
    t.read = half;
    t.out = 1;
    t.mirrored = true;
  } else if (onesided) {
    if (in == 2)
      node.unsupported("half of the transform of complex numbers does not tell the other");
    t.given = half;
  }
  if (t.read * in > kMostElements / (t.given * t.out)) {
    node.unsupported(
        fmt::format("a transform of {} points, which would be a matrix of more than {} "
                    "elements",
                    length, kMostElements));
  }
  return t;
}

/// The first `extent` elements along an axis, or zeros behind those there are.
Value resized(NodeReader& node, Value x, std::int64_t axis, std::int64_t extent) {
  const std::int64_t have = x.shape()[static_cast<std::size_t>(axis)].factor;
  if (extent < have) {
    return node.make("slice", {x}, {{"axis", axis}, {"start", std::int64_t{0}}, {"end", extent}});
  }
  if (extent == have) return x;
  return node.make("pad", {x}, {{"axis", axis}, {"after", extent - have}});
}

/// x [..., points, ..., in] transformed along `axis`: the points move ahead of the numbers and
/// become one axis with them.
Value transformed(NodeReader& node, Value x, std::int64_t axis, const Transform& t) {
  x = resized(node, x, axis, t.read);
  const std::int64_t rank = x.type().rank();
  Ints inwards, back(static_cast<std::size_t>(rank));
  for (std::int64_t i = 0; i < rank - 1; ++i) {
    if (i != axis) inwards.push_back(i);
  }
  inwards.insert(inwards.end(), {axis, rank - 1});
  for (std::int64_t i = 0; i < rank; ++i) {
    back[static_cast<std::size_t>(inwards[static_cast<std::size_t>(i)])] = i;
  }
  x = node.transpose(x, inwards);
  Shape shape(x.shape().begin(), x.shape().end() - 2);
  shape.emplace_back(t.read * t.in);
  const Value product =
      node.make("linear", {node.reshape(x, shape), node.constant(t.matrix(x.dtype()))});
  shape.back() = t.given;
  shape.emplace_back(t.out);
  return node.transpose(node.reshape(product, shape), back);
}

/// x [..., 1 or 2]; the axis was an attribute until opset 20.
void import_dft(NodeReader& node) {
  const Value x = node.input(0);
  const std::int64_t rank = x.type().rank();
  const std::int64_t fallback = node.opset() < 20 ? 1 : -2;
  std::int64_t axis = node.has_input(2) ? node.integer_input(2) : node.integer("axis", fallback);
  if (axis < 0) axis += rank;
  const bool complex = rank > 0 && x.shape().back() == Dim(2);
  if (rank < 2 || axis < 0 || axis >= rank - 1 || (!complex && x.shape().back() != Dim(1))) {
    node.unsupported(
        fmt::format("it takes [..., 1] or [..., 2] and another axis than the last, not {} "
                    "and axis {}",
                    to_string(x.type()), axis));
  }
  const Dim& extent = x.shape()[static_cast<std::size_t>(axis)];
  if (!extent.is_static()) node.unsupported("it transforms a dynamic axis");
  const bool inverse = node.flag("inverse", false), onesided = node.flag("onesided", false);
  const std::int64_t whole = inverse && onesided ? 2 * (extent.factor - 1) : extent.factor;
  const std::int64_t length = node.has_input(1) ? node.integer_input(1) : whole;
  const Transform t = plan_transform(node, length, complex ? 2 : 1, inverse, onesided);
  node.set(transformed(node, x, axis, t));
}

/// signal [N, L] or [N, L, 1 or 2] -> [N, frames, points, 2].
void import_stft(NodeReader& node) {
  Value x = node.input(0);
  if (x.type().rank() == 2) x = node.reshape(x, {x.shape()[0], x.shape()[1], 1});
  const bool complex = x.type().rank() == 3 && x.shape()[2] == Dim(2);
  if (x.type().rank() != 3 || !x.shape()[1].is_static() || (!complex && x.shape()[2] != Dim(1))) {
    node.unsupported(fmt::format("it takes a signal [N, L, 1 or 2] of fixed length, not {}",
                                 to_string(x.type())));
  }
  const std::int64_t samples = x.shape()[1].factor;
  const std::int64_t step = node.integer_input(1);
  std::int64_t length = samples;
  if (node.has_input(2)) length = element_count(node.shape(2)).factor;
  if (node.has_input(3)) length = node.integer_input(3);
  if (step < 1 || length < 1 || length > samples) {
    node.unsupported(fmt::format("frames of {} every {} samples of {}", length, step, samples));
  }
  const std::int64_t frames = (samples - length) / step + 1;
  if (frames > kMostElements / length) node.unsupported(fmt::format("{} frames", frames));
  const Transform t =
      plan_transform(node, length, complex ? 2 : 1, false, node.flag("onesided", true));
  HostTensor places(DType::i64, {frames, length});
  for (std::int64_t i = 0; i < frames * length; ++i) {
    places.as_mutable<std::int64_t>()[i] = i / length * step + i % length;
  }
  x = node.make("gather", {x, node.constant(places)}, {{"axis", std::int64_t{1}}});
  if (node.has_input(2)) {
    if (!(node.shape(2) == Shape{length})) node.unsupported("its window has not a frame's length");
    x = node.make("mul", {x, node.reshape(node.input(2), {length, 1})});
  }
  node.set(transformed(node, x, 2, t));
}

/// The triangle over points [left, right] of the spectrum whose top is at `middle`.
void add_triangle(HostTensor& weights, std::int64_t column, std::int64_t left, std::int64_t middle,
                  std::int64_t right) {
  const std::int64_t columns = weights.shape()[1];
  const auto set = [&](std::int64_t row, double value) {
    if (row < 0 || row >= weights.shape()[0]) return;
    weights.as_mutable<double>()[row * columns + column] = value;
  };
  if (left == middle) set(middle, 1);
  for (std::int64_t i = left; i <= middle && left != middle; ++i) {
    set(i, static_cast<double>(i - left) / static_cast<double>(middle - left));
  }
  for (std::int64_t i = middle; i < right; ++i) {
    set(i, static_cast<double>(right - i) / static_cast<double>(right - middle));
  }
}

/// Triangles that are evenly spaced in mel: [dft_length / 2 + 1, num_mel_bins].
void import_mel_weight_matrix(NodeReader& node) {
  const std::int64_t bins = node.integer_input(0), length = node.integer_input(1);
  const auto rate = static_cast<double>(node.integer_input(2));
  const auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double low = mel(node.number_input(3)), high = mel(node.number_input(4));
  if (bins < 1 || length < 1 || length > kMostElements || bins > kMostElements / length ||
      !(rate > 0) || !std::isfinite(low) || !std::isfinite(high)) {
    node.unsupported(fmt::format("{} bins of {} points at {} hertz", bins, length, rate));
  }
  Ints points;
  for (std::int64_t i = 0; i < bins + 2; ++i) {
    const double at = low + static_cast<double>(i) * (high - low) / static_cast<double>(bins + 2);
    const double hertz = 700 * (std::pow(10, at / 2595) - 1);
    const double point = std::floor((static_cast<double>(length) + 1) * hertz / rate);
    points.push_back(
        static_cast<std::int64_t>(std::clamp(point, -1.0, static_cast<double>(length))));
  }
  HostTensor weights(DType::f64, {length / 2 + 1, bins});
  for (std::int64_t bin = 0; bin < bins; ++bin) {
    const auto i = static_cast<std::size_t>(bin);
    add_triangle(weights, bin, points[i], points[i + 1], points[i + 2]);
  }
  node.set(weights.cast(NodeReader::dtype(node.integer("output_datatype", 1))));
}

/// x / |x| along one axis; zeros where the norm is zero.
void import_lp_normalization(NodeReader& node) {
  const Value x = node.input(0);
  const Ints axes{node.axis("axis", -1, x.type().rank())};
  const std::int64_t p = node.integer("p", 2);
  if (p != 1 && p != 2) node.unsupported(fmt::format("a norm of order {}", p));
  const Value sum =
      node.make("reduce_sum", {node.make(p == 1 ? "abs" : "square", {x})}, {{"axes", axes}});
  const Value norm = p == 1 ? sum : node.make("sqrt", {sum});
  const Value positive = node.make("greater", {norm, node.scalar(0, norm)});
  node.set(node.make("div", {x, node.make("where", {positive, norm, node.scalar(1, norm)})}));
}

}  // namespace

void add_signal_handlers(HandlerTable& table) {
  table.add("DFT", import_dft);
  table.add("STFT", import_stft);
  table.add("MelWeightMatrix", import_mel_weight_matrix);
  table.add("LpNormalization", import_lp_normalization);
}

}  // namespace facet::onnx_import
