#pragma once

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/matmul.h"

namespace facet::test {

/// Computes a product on values in the host's memory as cuBLASLt's manual defines it, by plain
/// loops with sums in f64.
void run_on_host(const cuda::Matmul& matmul, const cuda::MatmulAddresses& addresses);

}  // namespace facet::test
