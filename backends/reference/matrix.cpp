// linear and matmul, the gradients of linear, triangles and determinants.

#include <algorithm>
#include <cmath>

#include "backends/reference/broadcast.h"
#include "backends/reference/epilogue.h"
#include "backends/reference/evaluators.h"
#include "backends/reference/gemm.h"

namespace facet::reference {
namespace {

std::vector<HostTensor> linear(const Call& call) {
  const HostTensor& x = call.operand(0);
  const HostTensor& weight = call.operand(1);
  HostTensor result = call.result();
  const std::int64_t out = weight.shape()[0];
  const std::int64_t in = weight.shape()[1];
  multiply({x.as<double>()}, {weight.as<double>(), true}, result.as_mutable<double>(),
           x.element_count() / in, in, out);
  apply_epilogue(call, result, result.shape().size() - 1);
  return {result};
}

std::vector<HostTensor> linear_bwd_data(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& weight = call.operand(1);
  HostTensor dx = call.result();
  const std::int64_t out = weight.shape()[0];
  multiply({dy.as<double>()}, {weight.as<double>()}, dx.as_mutable<double>(),
           dy.element_count() / out, out, weight.shape()[1]);
  return {dx};
}

std::vector<HostTensor> linear_bwd_weights(const Call& call) {
  const HostTensor& dy = call.operand(0);
  const HostTensor& x = call.operand(1);
  HostTensor dweight = call.result();
  const std::int64_t out = dweight.shape()[0];
  const std::int64_t rows = dy.element_count() / out;
  multiply({dy.as<double>(), true}, {x.as<double>()}, dweight.as_mutable<double>(), out, rows,
           dweight.shape()[1]);
  if (!call.attributes().boolean("bias")) return {dweight};
  HostTensor dbias(DType::f64, {out});
  for (std::int64_t i = 0; i < rows * out; ++i) dbias.as_mutable<double>()[i % out] += dy.at(i);
  return {dweight, dbias};
}

/// `tensor` with its leading axes repeated to `batch`; the last two stay.
HostTensor broadcast_batch(const HostTensor& tensor, Extents batch) {
  batch.insert(batch.end(), tensor.shape().end() - 2, tensor.shape().end());
  return broadcast_to(tensor, batch);
}

std::vector<HostTensor> matmul(const Call& call) {
  HostTensor result = call.result();
  const Extents batch(result.shape().begin(), result.shape().end() - 2);
  const HostTensor a = broadcast_batch(call.operand(0), batch);
  const HostTensor b = broadcast_batch(call.operand(1), batch);
  const bool transpose_a = call.attributes().boolean("transpose_a");
  const bool transpose_b = call.attributes().boolean("transpose_b");
  const std::int64_t m = result.shape()[batch.size()];
  const std::int64_t n = result.shape()[batch.size() + 1];
  const std::int64_t k = a.shape()[batch.size() + (transpose_a ? 0 : 1)];
  for (std::int64_t i = 0; i < product(batch); ++i) {
    multiply({a.as<double>() + i * m * k, transpose_a}, {b.as<double>() + i * k * n, transpose_b},
             result.as_mutable<double>() + i * m * n, m, k, n);
  }
  return {result};
}

std::vector<HostTensor> triangle(const Call& call) {
  const HostTensor& x = call.operand(0);
  const bool upper = call.attributes().boolean("upper");
  const std::int64_t diagonal = call.attributes().integer("diagonal");
  const std::int64_t rows = x.shape().end()[-2], cols = x.shape().back();
  HostTensor result = call.result();
  for (std::int64_t i = 0; i < x.element_count(); ++i) {
    const std::int64_t distance = i % cols - i / cols % rows;
    if (upper ? distance >= diagonal : distance <= diagonal) {
      result.as_mutable<double>()[i] = x.at(i);
    }
  }
  return {result};
}

/// Gaussian elimination with the largest pivot of each column.
double determinant(std::vector<double> m, std::size_t n) {
  double product = 1;
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t i = k + 1; i < n; ++i) {
      if (std::fabs(m[i * n + k]) > std::fabs(m[pivot * n + k])) pivot = i;
    }
    product *= pivot == k ? m[pivot * n + k] : -m[pivot * n + k];
    if (product == 0) return 0;
    for (std::size_t j = 0; j < n; ++j) std::swap(m[k * n + j], m[pivot * n + j]);
    for (std::size_t i = k + 1; i < n; ++i) {
      const double factor = m[i * n + k] / m[k * n + k];
      for (std::size_t j = k; j < n; ++j) m[i * n + j] -= factor * m[k * n + j];
    }
  }
  return product;
}

std::vector<HostTensor> det(const Call& call) {
  const HostTensor& x = call.operand(0);
  const std::int64_t n = x.shape().back();
  HostTensor result = call.result();
  for (std::int64_t i = 0; i < result.element_count(); ++i) {
    const double* first = x.as<double>() + i * n * n;
    result.as_mutable<double>()[i] =
        determinant({first, first + n * n}, static_cast<std::size_t>(n));
  }
  return {result};
}

}  // namespace

void add_matrix_ops(EvaluatorTable& table) {
  table["linear"] = linear;
  table["linear_bwd_data"] = linear_bwd_data;
  table["linear_bwd_weights"] = linear_bwd_weights;
  table["matmul"] = matmul;
  table["triangle"] = triangle;
  table["det"] = det;
}

}  // namespace facet::reference
