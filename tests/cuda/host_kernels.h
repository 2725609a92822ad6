#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "backends/cuda/kernels/kernel_source.h"
#include "tests/formats/temp_folder.h"

namespace facet::test {

/// Generated kernels as the host's compiler makes them: all in one library, each run by a loop over
/// blocks and threads (tests/cuda/host_device.h). Shows the arithmetic, the addresses and the
/// barriers, not the device.
class HostKernels {
 public:
  /// The kernel's number.
  std::size_t add(const cuda::KernelSource& kernel);
  /// Compiles what was added. Throws Error(failure) with the compiler's output.
  void compile();
  /// Runs kernel `number` on parameters at these addresses, in order.
  void run(std::size_t number, std::vector<void*> parameters) const;

 private:
  TempFolder folder_;
  std::vector<cuda::KernelSource> kernels_;
  void* library_ = nullptr;
};

}  // namespace facet::test
