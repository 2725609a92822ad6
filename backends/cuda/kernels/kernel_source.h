#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace facet::cuda {

/// The address that one parameter of a kernel takes; a table is made with the plan.
struct KernelArgument {
  enum class Place { operand, result, scratch, table } place = Place::operand;
  int index = 0;  ///< number of the operand or result
  friend bool operator==(const KernelArgument&, const KernelArgument&) = default;
};

/// A generated kernel: CUDA C++ for NVRTC, which a host compiler takes as well behind a host's
/// device (tests/cuda/host_device.h). Shapes and strides are in the text; its parameters are
/// addresses.
struct KernelSource {
  std::string name;         ///< of the function, extern "C"
  std::string text;         ///< the kernel alone; `kernel_prelude` goes in front of it
  int threads = 0;          ///< per block
  std::int64_t blocks = 0;  ///< blocks of the grid's x axis
  std::vector<KernelArgument> arguments;
  /// Of shared memory that a block asks for, the prelude's `block_memory`; what its text declares
  /// comes on top.
  std::int64_t shared_bytes = 0;
};

/// Kernels that run in order, with one piece of temporary memory.
struct KernelSequence {
  std::vector<KernelSource> kernels;
  std::int64_t scratch_bytes = 0;
};

/// What kernels call: element types, loads and stores of 16 bytes, scalar functions, sums over a
/// warp, products of tensor cores. It includes nothing.
const std::string& kernel_prelude();

}  // namespace facet::cuda
