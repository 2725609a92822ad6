// linear and matmul, and the gradients of linear.

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

}  // namespace

void add_matrix_ops(EvaluatorTable& table) {
  table["linear"] = linear;
  table["linear_bwd_data"] = linear_bwd_data;
  table["linear_bwd_weights"] = linear_bwd_weights;
  table["matmul"] = matmul;
}

}  // namespace facet::reference
