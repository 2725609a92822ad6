#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "runtime/formats/onnx/import_math.h"

// Operators whose result is known when the model is read: EyeLike, Range, windows.

namespace facet::onnx_import {
namespace {

/// A few numbers in a small file may ask for a large tensor.
constexpr double kMostElements = 1 << 22;

void require_budget(const NodeReader& node, double elements) {
  if (elements >= 0 && elements <= kMostElements) return;
  node.unsupported(
      fmt::format("its result has {} elements, more than {}", elements, kMostElements));
}

void import_eye_like(NodeReader& node) {
  const Shape shape = node.shape(0);
  if (shape.size() != 2 || !is_static(shape)) {
    node.unsupported("its input is no matrix of known extents");
  }
  const std::int64_t rows = shape[0].factor, cols = shape[1].factor;
  require_budget(node, static_cast<double>(rows) * static_cast<double>(cols));
  const DType dtype =
      node.has("dtype") ? NodeReader::dtype(node.integer("dtype", 0)) : node.type(0).dtype;
  const std::int64_t k = node.integer("k", 0);
  HostTensor eye(DType::f64, {rows, cols});
  for (std::int64_t i = 0; i < rows; ++i) {
    if (k >= -i && k < cols - i) eye.as_mutable<double>()[i * cols + i + k] = 1;
  }
  node.set(eye.cast(dtype));
}

/// Element i is start + i * delta, rounded to the dtype.
void import_range(NodeReader& node) {
  const double start = node.number_input(0), limit = node.number_input(1);
  const double delta = node.number_input(2);
  if (delta == 0) node.unsupported("its delta is 0");
  const double count = std::max(std::ceil((limit - start) / delta), 0.0);
  require_budget(node, count);
  HostTensor range(DType::f64, {static_cast<std::int64_t>(count)});
  for (std::int64_t i = 0; i < range.element_count(); ++i) {
    range.as_mutable<double>()[i] = start + static_cast<double>(i) * delta;
  }
  node.set(range.cast(node.type(0).dtype));
}

/// a0 - a1 cos(2 pi i / n) + a2 cos(4 pi i / n), n one less for a symmetric window.
void window(NodeReader& node, double a0, double a1, double a2) {
  const std::int64_t size = node.integer_input(0);
  require_budget(node, static_cast<double>(size));
  const auto n = static_cast<double>(node.flag("periodic", true) ? size : size - 1);
  HostTensor values(DType::f64, {size});
  for (std::int64_t i = 0; i < size; ++i) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(i) / std::max(n, 1.0);
    values.as_mutable<double>()[i] = a0 - a1 * std::cos(angle) + a2 * std::cos(2 * angle);
  }
  node.set(values.cast(NodeReader::dtype(node.integer("output_datatype", 1))));
}
void import_hann(NodeReader& node) { window(node, 0.5, 0.5, 0); }
void import_hamming(NodeReader& node) { window(node, 25.0 / 46, 21.0 / 46, 0); }
void import_blackman(NodeReader& node) { window(node, 0.42, 0.5, 0.08); }

}  // namespace

void add_generated_handlers(HandlerTable& table) {
  table.add("EyeLike", import_eye_like);
  table.add("Range", import_range);
  table.add("HannWindow", import_hann);
  table.add("HammingWindow", import_hamming);
  table.add("BlackmanWindow", import_blackman);
}

}  // namespace facet::onnx_import
