#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "backends/cuda/matmul.h"

namespace facet::cuda {

/// Workspace that an algorithm may ask for, bytes: what NVIDIA advises for sm_90.
inline constexpr std::int64_t kMatmulWorkspaceBytes = std::int64_t{32} << 20;

/// One of cuBLASLt's ways to compute a product, as it writes it down: good for the same product on
/// the same kind of device with the same release of the library.
struct MatmulAlgorithm {
  std::array<std::uint64_t, 8> bits{};
  std::int64_t workspace_bytes = 0;
};

/// Addresses on the device; workspace as the algorithm asks for it.
struct MatmulAddresses {
  const std::byte* a = nullptr;
  const std::byte* b = nullptr;
  std::byte* d = nullptr;
  std::byte* bias = nullptr;  ///< or where its gradient goes; null without either
  std::byte* workspace = nullptr;
};

/// Chooses algorithms and runs products on the device that is current. A test may put another in
/// its place.
class MatmulLibrary {
 public:
  virtual ~MatmulLibrary() = default;
  /// The algorithm that is expected to be fastest within `kMatmulWorkspaceBytes` and with sums that
  /// are f32 throughout; nothing if there is none. The same bits in every run.
  virtual std::optional<MatmulAlgorithm> choose(const Matmul& matmul) = 0;
  /// Enqueues the product on the stream, a CUstream. Throws Error(failure) with the product's text.
  virtual void run(const Matmul& matmul, const MatmulAlgorithm& algorithm,
                   const MatmulAddresses& addresses, void* stream) = 0;
};

/// cuBLASLt on the current device. Throws Error(failure) where there is none.
std::unique_ptr<MatmulLibrary> open_cublaslt();

/// Makes the product's descriptors as `choose` does, which needs no device. Throws Error(failure)
/// with the product's text and cuBLASLt's reason if it does not take them.
void check_matmul(const Matmul& matmul);

/// "13.1.0": of the library that is loaded.
std::string cublaslt_version();

}  // namespace facet::cuda
