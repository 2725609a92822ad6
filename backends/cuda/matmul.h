#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

/// Products of matrices as cuBLASLt takes them, described without it: linear, matmul and their
/// gradients (cublaslt.h hands them to the library).
namespace facet::cuda {

/// A column-major matrix or a batch of such, as BLAS has them: a row-major one is its transpose.
struct Matrix {
  KernelArgument place;
  std::int64_t offset = 0;  ///< elements from the place's first one
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t leading = 0;  ///< elements from column to column
  bool transposed = false;   ///< the product reads its transpose
  std::int64_t batch_stride = 0;
};

/// d = a * b with f32 sums, `batch` times, and what is done to it before it is stored.
struct Matmul {
  Matrix a, b, d;
  std::int64_t batch = 1;
  /// f32 factors may be rounded to 10 bits of mantissa for the tensor cores.
  bool tf32 = false;
  /// One number for each row of d, of d's type.
  std::optional<KernelArgument> bias;
  bool relu = false;
  /// Takes for each column of d the sum of b's factors, of d's type: the gradient of a bias.
  std::optional<KernelArgument> bias_gradient;

  std::int64_t m() const { return d.rows; }
  std::int64_t n() const { return d.columns; }
  std::int64_t k() const { return a.transposed ? a.rows : a.columns; }
};

/// A line for each matrix and one for the product. Matmuls are equal if and only if their texts
/// are.
std::string to_text(const Matmul& matmul);

/// linear, linear_bwd_data, linear_bwd_weights or matmul of floats.
bool is_matmul(const Node& node);

/// Whether `entry` may stand behind the epilogue of the linear; `extra` is the type of the operand
/// that it reads, null for none. A bias and then relu do.
bool matmul_takes_entry(const Node& node, std::string_view entry, const Type* extra);

struct MatmulOptions {
  bool tf32 = false;
  /// The gradient of a bias is computed by a reduction of its own, not behind the product: for a
  /// product that cuBLASLt has no algorithm for.
  bool separate_bias_gradient = false;
};

/// What computes a node: kernels, then products, then kernels. cuBLASLt adds a bias of the result's
/// type only; behind 16-bit results it is first rounded to that type, in scratch.
struct MatmulPlan {
  std::vector<KernelSource> before;
  std::vector<Matmul> products;
  std::vector<KernelSource> after;
  std::int64_t scratch_bytes = 0;  ///< of the kernels, where cuBLASLt's workspace is not counted
};

/// Throws Error(failure) for another node or epilogue, factors of two types, types other than f32,
/// bf16 and f16, and views whose rows and columns both have gaps.
MatmulPlan matmul_plan(const Node& node, std::span<const View> operands,
                       std::span<const View> results, const MatmulOptions& options);
/// The same for dense row-major values.
MatmulPlan matmul_plan(const Node& node, const MatmulOptions& options);

}  // namespace facet::cuda
