#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// The parameters of a kernel that is being written: where their addresses come from, and their
/// text. In the order in which they are named.
class Parameters {
 public:
  /// "const TYPE* NAME", with __restrict__ where nothing the kernel writes may lie over it.
  void operand(int index, std::string_view type, std::string_view name, bool is_apart = true);
  /// "TYPE* NAME".
  void result(int index, std::string_view type, std::string_view name);
  /// "float* scratch": the start of the sequence's temporary memory.
  void scratch();

  /// A kernel with these parameters, its text up to the opening brace. Above 0, `resident` blocks
  /// are to fit on one multiprocessor, which bounds the registers.
  KernelSource begin(std::string name, int threads, std::int64_t blocks, int resident = 0) const;

 private:
  std::vector<KernelArgument> arguments_;
  std::vector<std::string> texts_;
};

/// Hands out pieces of a sequence's temporary memory, in floats; each is aligned to 16 bytes.
class Scratch {
 public:
  std::int64_t take(std::int64_t floats) {
    const std::int64_t place = floats_;
    floats_ += (floats + 3) / 4 * 4;
    return place;
  }
  std::int64_t bytes() const { return floats_ * 4; }

 private:
  std::int64_t floats_ = 0;
};

}  // namespace facet::cuda
