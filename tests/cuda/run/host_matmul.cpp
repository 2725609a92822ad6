#include "tests/cuda/run/host_matmul.h"

#include <algorithm>

#include "tests/cuda/run/host_values.h"

namespace facet::test {
namespace {

/// Element (row, column) of what the product reads.
double element(const cuda::Matrix& matrix, const std::byte* at, std::int64_t row,
               std::int64_t column) {
  if (matrix.transposed) std::swap(row, column);
  return load_value(at, matrix.dtype, column * matrix.leading + row);
}

const std::byte* of_batch(const cuda::Matrix& matrix, const std::byte* at, std::int64_t number) {
  return at + number * matrix.batch_stride * size_of(matrix.dtype);
}

}  // namespace

void run_on_host(const cuda::Matmul& matmul, const cuda::MatmulAddresses& addresses) {
  const DType dtype = matmul.d.dtype;
  for (std::int64_t number = 0; number < matmul.batch; ++number) {
    const std::byte* const a = of_batch(matmul.a, addresses.a, number);
    const std::byte* const b = of_batch(matmul.b, addresses.b, number);
    std::byte* const d = addresses.d + number * matmul.d.batch_stride * size_of(dtype);
    for (std::int64_t column = 0; column < matmul.n(); ++column) {
      double factors = 0;
      for (std::int64_t k = 0; k < matmul.k(); ++k) factors += element(matmul.b, b, k, column);
      if (matmul.bias_gradient) store_value(addresses.bias, dtype, column, factors);
      for (std::int64_t row = 0; row < matmul.m(); ++row) {
        double sum = matmul.bias ? load_value(addresses.bias, dtype, row) : 0;
        for (std::int64_t k = 0; k < matmul.k(); ++k) {
          sum += element(matmul.a, a, row, k) * element(matmul.b, b, k, column);
        }
        store_value(d, dtype, column * matmul.d.leading + row,
                    matmul.relu ? std::max(sum, 0.0) : sum);
      }
    }
  }
}

}  // namespace facet::test
