#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>

#include "backends/cuda/file_cache.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// What a compiled kernel needs of a multiprocessor.
struct KernelResources {
  int registers = 0;     ///< per thread
  int stack_bytes = 0;   ///< local memory per thread; slow
  int spill_bytes = 0;   ///< of it, stores and loads of registers that were too few
  int shared_bytes = 0;  ///< per block, not counting what is asked for at launch
};

/// Machine code of one kernel for one architecture.
struct CompiledKernel {
  std::string code;  ///< an ELF file ("cubin")
  KernelResources resources;
};

/// "13.0": of the run-time compiler that is loaded.
std::string nvrtc_version();

/// Compiles the kernel behind its prelude for compute capability `architecture` (90 for sm_90), by
/// strict IEEE arithmetic but for fused multiply-adds. Needs no driver. Throws Error(failure) with
/// the compiler's log.
CompiledKernel compile_kernel(const KernelSource& kernel, int architecture);

/// The kernel in PTX, the portable assembly, for people and tests to read. Throws as
/// `compile_kernel`.
std::string kernel_ptx(const KernelSource& kernel, int architecture);

/// Compiled kernels in a folder (a FileCache): the key is everything that decides the code, source,
/// architecture, options, compiler's version. Safe from several threads, which compile at the same
/// time.
class KernelCache {
 public:
  KernelCache(std::filesystem::path folder, std::size_t limit)
      : files_(std::move(folder), ".fck", limit) {}

  /// The kernel from the folder, else compiled and kept there. Throws as `compile_kernel`.
  CompiledKernel get(const KernelSource& kernel, int architecture);
  /// Those that `get` had to compile.
  int compiled() const { return compiled_; }

 private:
  FileCache files_;
  std::atomic<int> compiled_ = 0;
};

}  // namespace facet::cuda
