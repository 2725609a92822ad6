#pragma once

#include <cstdint>

namespace facet::reference {

/// One row-major matrix operand; a transposed one is stored [columns, rows].
struct Matrix {
  const double* data;
  bool transposed = false;
};

/// c [m, n] = a [m, k] x b [k, n], all row-major.
void multiply(Matrix a, Matrix b, double* c, std::int64_t m, std::int64_t k, std::int64_t n);

}  // namespace facet::reference
