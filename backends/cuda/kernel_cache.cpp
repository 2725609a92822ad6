#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <optional>
#include <string_view>

#include "backends/cuda/nvrtc.h"
#include "backends/cuda/nvrtc_options.h"

namespace facet::cuda {
namespace {

/// Everything that decides the code.
std::string key_of(const KernelSource& kernel, int architecture) {
  return fmt::format("nvrtc {}\n{}\n{}\n{}{}", nvrtc_version(),
                     fmt::join(nvrtc_options(architecture), " "), kernel.name, kernel_prelude(),
                     kernel.text);
}

/// Resources as they lie in memory, as the folder belongs to one machine, and the code.
std::string pack(const CompiledKernel& kernel) {
  std::string bytes(sizeof(KernelResources), '\0');
  std::memcpy(bytes.data(), &kernel.resources, sizeof(KernelResources));
  return bytes + kernel.code;
}

std::optional<CompiledKernel> unpack(const std::string& bytes) {
  if (bytes.size() < sizeof(KernelResources)) return std::nullopt;
  CompiledKernel kernel;
  std::memcpy(&kernel.resources, bytes.data(), sizeof(KernelResources));
  kernel.code = bytes.substr(sizeof(KernelResources));
  return kernel;
}

}  // namespace

CompiledKernel KernelCache::get(const KernelSource& kernel, int architecture) {
  const std::string key = key_of(kernel, architecture);
  if (const std::optional<std::string> kept = files_.read(key)) {
    if (std::optional<CompiledKernel> known = unpack(*kept)) return *std::move(known);
  }
  CompiledKernel made = compile_kernel(kernel, architecture);
  ++compiled_;
  files_.write(key, pack(made));
  return made;
}

}  // namespace facet::cuda
