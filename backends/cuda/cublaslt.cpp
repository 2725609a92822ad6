#include "backends/cuda/cublaslt.h"

#include <cublasLt.h>
#include <fmt/format.h>

#include <cstring>
#include <numeric>
#include <type_traits>

#include "backends/cuda/device_views.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

void require(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw failure(fmt::format("{}: {}", what, cublasLtGetStatusString(status)));
}

cudaDataType_t data_type_of(DType dtype) {
  return dtype == DType::f32 ? CUDA_R_32F : dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_16F;
}

/// Owns one of the library's descriptors.
template <class T, auto Destroy>
struct Owner {
  struct Deleter {
    void operator()(T handle) const { Destroy(handle); }
  };
  std::unique_ptr<std::remove_pointer_t<T>, Deleter> handle;
  T get() const { return handle.get(); }
};
using Description = Owner<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using MatrixLayout = Owner<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owner<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

/// A product's descriptors.
class Descriptors {
 public:
  explicit Descriptors(const Matmul& matmul) try
      : a_(layout(matmul.a, matmul.batch)),
        b_(layout(matmul.b, matmul.batch)),
        d_(layout(matmul.d, matmul.batch)) {
    // cuBLASLt takes the fast type for f32 factors only.
    const bool rounds = matmul.tf32 && matmul.a.dtype == DType::f32;
    const auto compute = rounds ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasLtMatmulDesc_t raw = nullptr;
    require(cublasLtMatmulDescCreate(&raw, compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
    description_.handle.reset(raw);
    set(CUBLASLT_MATMUL_DESC_TRANSA, matmul.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, matmul.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(matmul));
    // Read for its alignment when an algorithm is chosen, as an address when one runs.
    if (matmul.bias || matmul.bias_gradient) set_bias(reinterpret_cast<std::byte*>(kAlignment));
    make_preference(matmul);
  } catch (Error& error) {
    error.add_context("giving cuBLASLt the product\n" + to_text(matmul));
    throw;
  }

  void set_bias(std::byte* address) { set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, address); }
  cublasLtMatmulDesc_t description() const { return description_.get(); }
  cublasLtMatmulPreference_t preference() const { return preference_.get(); }
  cublasLtMatrixLayout_t a() const { return a_.get(); }
  cublasLtMatrixLayout_t b() const { return b_.get(); }
  cublasLtMatrixLayout_t d() const { return d_.get(); }

 private:
  static MatrixLayout layout(const Matrix& matrix, std::int64_t batch) {
    cublasLtMatrixLayout_t raw = nullptr;
    require(cublasLtMatrixLayoutCreate(&raw, data_type_of(matrix.dtype),
                                       static_cast<std::uint64_t>(matrix.rows),
                                       static_cast<std::uint64_t>(matrix.columns), matrix.leading),
            "cublasLtMatrixLayoutCreate");
    MatrixLayout owner;
    owner.handle.reset(raw);
    const auto count = static_cast<std::int32_t>(batch);
    require(cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                             sizeof(count)),
            "the number of matrices");
    require(cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                             &matrix.batch_stride, sizeof(matrix.batch_stride)),
            "the distance of matrices");
    return owner;
  }

  static cublasLtEpilogue_t epilogue_of(const Matmul& matmul) {
    if (matmul.bias_gradient) return CUBLASLT_EPILOGUE_BGRADB;
    if (matmul.bias) return matmul.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
    return matmul.relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT;
  }

  template <class T>
  void set(cublasLtMatmulDescAttributes_t name, T value) {
    require(cublasLtMatmulDescSetAttribute(description(), name, &value, sizeof(value)),
            "an attribute of the product");
  }
  template <class T>
  void prefer(cublasLtMatmulPreferenceAttributes_t name, T value) {
    require(cublasLtMatmulPreferenceSetAttribute(preference(), name, &value, sizeof(value)),
            "a preference of the product");
  }

  void make_preference(const Matmul& matmul) {
    cublasLtMatmulPreference_t raw = nullptr;
    require(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
    preference_.handle.reset(raw);
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
           static_cast<std::uint64_t>(kMatmulWorkspaceBytes));
    // Parts of a sum are not added up in the result's type.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    const auto aligned = [](const Matrix& matrix) {
      return static_cast<std::uint32_t>(
          std::gcd(kAlignment, matrix.offset * size_of(matrix.dtype)));
    };
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, aligned(matmul.a));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, aligned(matmul.b));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, aligned(matmul.d));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, aligned(matmul.d));
  }

  MatrixLayout a_, b_, d_;
  Description description_;
  Preference preference_;
};

class CublasLt : public MatmulLibrary {
 public:
  CublasLt() {
    const cublasStatus_t status = cublasLtCreate(&handle_);
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw failure(
        fmt::format("cuBLASLt does not start on this device: {}", cublasLtGetStatusString(status)));
  }
  ~CublasLt() override { cublasLtDestroy(handle_); }
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  std::optional<MatmulAlgorithm> choose(const Matmul& matmul) override {
    const Descriptors d(matmul);
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle_, d.description(), d.a(), d.b(), d.d(), d.d(), d.preference(), 1, &found, &count);
    if (status != CUBLAS_STATUS_SUCCESS || count == 0 || found.state != CUBLAS_STATUS_SUCCESS) {
      return std::nullopt;
    }
    MatmulAlgorithm algorithm;
    static_assert(sizeof(found.algo) == sizeof(algorithm.bits));
    std::memcpy(algorithm.bits.data(), &found.algo, sizeof(found.algo));
    algorithm.workspace_bytes = static_cast<std::int64_t>(found.workspaceSize);
    return algorithm;
  }

  void run(const Matmul& matmul, const MatmulAlgorithm& algorithm, const MatmulAddresses& addresses,
           void* stream) override {
    Descriptors d(matmul);
    if (matmul.bias || matmul.bias_gradient) d.set_bias(addresses.bias);
    cublasLtMatmulAlgo_t chosen;
    std::memcpy(&chosen, algorithm.bits.data(), sizeof(chosen));
    const float alpha = 1;
    const float beta = 0;
    const cublasStatus_t status = cublasLtMatmul(
        handle_, d.description(), &alpha, addresses.a, d.a(), addresses.b, d.b(), &beta,
        addresses.d, d.d(), addresses.d, d.d(), &chosen, addresses.workspace,
        static_cast<std::size_t>(algorithm.workspace_bytes), static_cast<cudaStream_t>(stream));
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw failure(fmt::format("cuBLASLt does not compute ({}) the product\n{}",
                              cublasLtGetStatusString(status), to_text(matmul)));
  }

 private:
  cublasLtHandle_t handle_ = nullptr;
};

}  // namespace

std::unique_ptr<MatmulLibrary> open_cublaslt() { return std::make_unique<CublasLt>(); }

void check_matmul(const Matmul& matmul) { const Descriptors descriptors(matmul); }

std::string cublaslt_version() {
  const std::size_t version = cublasLtGetVersion();
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace facet::cuda
