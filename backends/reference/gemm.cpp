#include "backends/reference/gemm.h"

#include <Eigen/Core>

namespace facet::reference {

void multiply(Matrix a, Matrix b, double* c, std::int64_t m, std::int64_t k, std::int64_t n) {
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Operand = Eigen::Map<const RowMajor>;
  const Operand a_stored(a.data, a.transposed ? k : m, a.transposed ? m : k);
  const Operand b_stored(b.data, b.transposed ? n : k, b.transposed ? k : n);
  Eigen::Map<RowMajor> result(c, m, n);
  if (a.transposed && b.transposed) {
    result.noalias() = a_stored.transpose() * b_stored.transpose();
  } else if (a.transposed) {
    result.noalias() = a_stored.transpose() * b_stored;
  } else if (b.transposed) {
    result.noalias() = a_stored * b_stored.transpose();
  } else {
    result.noalias() = a_stored * b_stored;
  }
}

}  // namespace facet::reference
