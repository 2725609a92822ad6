#include "training/evaluation/principal_components.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "ir/error.h"

namespace facet {
namespace {

constexpr int kMostSweeps = 60;  // some ten are needed: convergence is quadratic

/// Sum of the squares above the diagonal.
double off_diagonal(const Embeddings& matrix) {
  double sum = 0;
  for (std::int64_t p = 0; p < matrix.rows; ++p) {
    for (std::int64_t q = p + 1; q < matrix.rows; ++q) sum += matrix.row(p)[q] * matrix.row(p)[q];
  }
  return sum;
}

/// Makes element (p, q) of the symmetric matrix zero; the same rotation turns the rows of
/// `vectors`.
void rotate(Embeddings& matrix, Embeddings& vectors, std::int64_t p, std::int64_t q) {
  const double apq = matrix.row(p)[q];
  if (apq == 0) return;
  const double theta = (matrix.row(q)[q] - matrix.row(p)[p]) / (2 * apq);
  const double t = std::copysign(1.0, theta) / (std::abs(theta) + std::hypot(theta, 1.0));
  const double c = 1 / std::hypot(t, 1.0);
  const double s = t * c;
  const auto turn = [&](double& x, double& y) {
    const double old = x;
    x = c * old - s * y;
    y = s * old + c * y;
  };
  for (std::int64_t i = 0; i < matrix.rows; ++i) turn(matrix.row(i)[p], matrix.row(i)[q]);
  for (std::int64_t i = 0; i < matrix.rows; ++i) turn(matrix.row(p)[i], matrix.row(q)[i]);
  matrix.row(p)[q] = matrix.row(q)[p] = 0;
  for (std::int64_t i = 0; i < vectors.width; ++i) turn(vectors.row(p)[i], vectors.row(q)[i]);
}

}  // namespace

SymmetricEigen symmetric_eigen(Embeddings matrix) {
  const std::int64_t n = matrix.rows;
  if (n != matrix.width) throw usage_error("eigenvectors are of a square matrix");
  if (!std::ranges::all_of(matrix.values, [](double value) { return std::isfinite(value); })) {
    throw failure("eigenvectors of a matrix with values that are not finite");
  }
  Embeddings vectors(n, n);
  double squares = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    vectors.row(i)[i] = 1;
    squares += matrix.row(i)[i] * matrix.row(i)[i];
    for (std::int64_t j = 0; j < i; ++j) matrix.row(i)[j] = matrix.row(j)[i];
  }
  const double negligible = 1e-30 * (squares + 2 * off_diagonal(matrix));
  for (int sweep = 0; sweep < kMostSweeps && off_diagonal(matrix) > negligible; ++sweep) {
    for (std::int64_t p = 0; p < n; ++p) {
      for (std::int64_t q = p + 1; q < n; ++q) rotate(matrix, vectors, p, q);
    }
  }
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [&](std::int64_t i) { return matrix.row(i)[i]; });
  SymmetricEigen result;
  for (const std::int64_t i : order) result.values.push_back(matrix.row(i)[i]);
  result.vectors = rows_of(vectors, order);
  return result;
}

PrincipalComponents::PrincipalComponents(const Embeddings& table, std::int64_t components)
    : mean_(static_cast<std::size_t>(table.width)) {
  if (components < 1 || components > std::min(table.rows, table.width)) {
    throw usage_error(fmt::format("{} principal components of {} embeddings of {} numbers",
                                  components, table.rows, table.width));
  }
  for (std::int64_t i = 0; i < table.rows; ++i) {
    for (std::size_t d = 0; d < mean_.size(); ++d) mean_[d] += table.row(i)[d];
  }
  for (double& value : mean_) value /= static_cast<double>(table.rows);
  Embeddings covariance(table.width, table.width);
  std::vector<double> centred(mean_.size());
  for (std::int64_t i = 0; i < table.rows; ++i) {
    for (std::size_t d = 0; d < mean_.size(); ++d) centred[d] = table.row(i)[d] - mean_[d];
    for (std::int64_t a = 0; a < table.width; ++a) {
      double* row = covariance.row(a).data();
      const double factor = centred[static_cast<std::size_t>(a)];
      for (std::int64_t b = a; b < table.width; ++b)
        row[b] += factor * centred[static_cast<std::size_t>(b)];
    }
  }
  const auto divisor = static_cast<double>(std::max<std::int64_t>(table.rows - 1, 1));
  for (double& value : covariance.values) value /= divisor;
  SymmetricEigen eigen = symmetric_eigen(std::move(covariance));
  eigen.values.resize(static_cast<std::size_t>(components));
  variances_ = std::move(eigen.values);
  eigen.vectors.values.resize(static_cast<std::size_t>(components * table.width));
  eigen.vectors.rows = components;
  directions_ = std::move(eigen.vectors);
}

Embeddings PrincipalComponents::project(const Embeddings& table) const {
  Embeddings result(table.rows, directions_.rows);
  std::vector<double> centred(mean_.size());
  for (std::int64_t i = 0; i < table.rows; ++i) {
    for (std::size_t d = 0; d < mean_.size(); ++d) centred[d] = table.row(i)[d] - mean_[d];
    for (std::int64_t k = 0; k < directions_.rows; ++k)
      result.row(i)[k] = dot(centred, directions_.row(k));
  }
  return result;
}

}  // namespace facet
