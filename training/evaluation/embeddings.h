#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ir/host_tensor.h"

/// What the evaluation protocols compute with. They are pure functions, in double.
namespace facet {

/// A table with one embedding a row, [rows, width].
struct Embeddings {
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::vector<double> values;

  Embeddings() = default;
  /// Zeros.
  Embeddings(std::int64_t row_count, std::int64_t row_width);
  /// Of a tensor [n, D] of any float type. Throws Error(usage) for another shape.
  explicit Embeddings(const HostTensor& tensor);

  std::span<const double> row(std::int64_t i) const {
    return {values.data() + i * width, static_cast<std::size_t>(width)};
  }
  std::span<double> row(std::int64_t i) {
    return {values.data() + i * width, static_cast<std::size_t>(width)};
  }
};

/// Sum over a[i] * b[i], in order.
double dot(std::span<const double> a, std::span<const double> b);
/// Sum over (a[i] - b[i])^2, in order.
double squared_distance(std::span<const double> a, std::span<const double> b);
/// a.b / max(|a| |b|, 1e-8), as PyTorch's cosine_similarity.
double cosine(std::span<const double> a, std::span<const double> b);
/// Divides by the L2 norm; a row of zeros stays.
void normalize(std::span<double> row);
/// Every row by its L2 norm.
Embeddings normalized(Embeddings table);
/// The rows of these numbers, in their order; one may come several times.
Embeddings rows_of(const Embeddings& table, std::span<const std::int64_t> numbers);

}  // namespace facet
