#include "training/evaluation/embeddings.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "ir/error.h"

namespace facet {

Embeddings::Embeddings(std::int64_t row_count, std::int64_t row_width)
    : rows(row_count),
      width(row_width),
      values(static_cast<std::size_t>(row_count) * static_cast<std::size_t>(row_width)) {}

Embeddings::Embeddings(const HostTensor& tensor) {
  if (tensor.rank() != 2) throw usage_error("embeddings are a table [n, D]");
  rows = tensor.shape()[0];
  width = tensor.shape()[1];
  values = tensor.to_doubles();
}

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double squared_distance(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

double cosine(std::span<const double> a, std::span<const double> b) {
  return dot(a, b) / std::max(std::sqrt(dot(a, a)) * std::sqrt(dot(b, b)), 1e-8);
}

void normalize(std::span<double> row) {
  const double norm = std::sqrt(dot(row, row));
  if (norm == 0) return;
  for (double& value : row) value /= norm;
}

Embeddings normalized(Embeddings table) {
  for (std::int64_t i = 0; i < table.rows; ++i) normalize(table.row(i));
  return table;
}

Embeddings rows_of(const Embeddings& table, std::span<const std::int64_t> numbers) {
  Embeddings result(static_cast<std::int64_t>(numbers.size()), table.width);
  std::int64_t to = 0;
  for (const std::int64_t number : numbers)
    std::ranges::copy(table.row(number), result.row(to++).begin());
  return result;
}

}  // namespace facet
