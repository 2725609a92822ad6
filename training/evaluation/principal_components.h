#pragma once

#include <cstdint>
#include <vector>

#include "training/evaluation/embeddings.h"

namespace facet {

/// Eigenvalues, largest first, and unit eigenvectors of a symmetric matrix.
struct SymmetricEigen {
  std::vector<double> values;
  Embeddings vectors;  ///< [n, n], an eigenvector a row; the sign is arbitrary
};

/// Of `matrix` [n, n], of which the upper triangle is read. By Jacobi's rotations in cyclic order,
/// which need no more than the matrix and are accurate for small eigenvalues, too; n = 512 takes
/// some seconds. Throws Error(usage) if it is not square, Error(failure) if a value is not finite.
SymmetricEigen symmetric_eigen(Embeddings matrix);

/// The directions in which a table's rows differ most from their mean.
class PrincipalComponents {
 public:
  /// Throws Error(usage) unless 1 <= components <= min(rows, width).
  PrincipalComponents(const Embeddings& table, std::int64_t components);

  /// (row - mean) on every direction: [rows, components].
  Embeddings project(const Embeddings& table) const;
  /// Variances of the directions (divided by rows - 1), largest first.
  const std::vector<double>& variances() const { return variances_; }

 private:
  std::vector<double> mean_;
  std::vector<double> variances_;
  Embeddings directions_;
};

}  // namespace facet
