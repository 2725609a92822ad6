#include "tests/cuda/host_kernels.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

#include "ir/error.h"

namespace facet::test {
namespace {

// Calls a kernel with as many addresses as it has parameters, once for every thread.
constexpr const char* kRunner = R"(
#include <cstddef>
#include <utility>
template <class... Parameters, std::size_t... I>
void facet_run(void (*kernel)(Parameters...), void** parameters, unsigned blocks, unsigned threads,
               std::index_sequence<I...>) {
  gridDim = {blocks, 1, 1};
  blockDim = {threads, 1, 1};
  for (unsigned b = 0; b < blocks; ++b) {
    for (unsigned t = 0; t < threads; ++t) {
      blockIdx = {b, 0, 0};
      threadIdx = {t, 0, 0};
      kernel(static_cast<Parameters>(parameters[I])...);
    }
  }
}
template <class... Parameters>
void facet_run(void (*kernel)(Parameters...), void** parameters, unsigned blocks, unsigned threads) {
  facet_run(kernel, parameters, blocks, threads, std::index_sequence_for<Parameters...>());
}
)";

}  // namespace

std::size_t HostKernels::add(const cuda::KernelSource& kernel) {
  kernels_.push_back(kernel);
  return kernels_.size() - 1;
}

void HostKernels::compile() {
  std::string text = cuda::host_prelude() + cuda::kernel_prelude() + kRunner;
  for (std::size_t i = 0; i < kernels_.size(); ++i) {
    std::string kernel = kernels_[i].text;
    const std::string name = fmt::format("kernel_{}", i);
    kernel.replace(kernel.find(kernels_[i].name + "("), kernels_[i].name.size(), name);
    text += kernel;
    text += fmt::format(
        "extern \"C\" void run_{0}(void** p, unsigned blocks, unsigned threads) {{ "
        "facet_run(kernel_{0}, p, blocks, threads); }}\n",
        i);
  }
  write_bytes(folder_ / "kernels.cpp", text);
  const std::string line =
      fmt::format("{} -std=c++17 -O0 -fPIC -shared -ffp-contract=off -w -o '{}' '{}' >'{}' 2>&1",
                  HOST_COMPILER, (folder_ / "kernels.so").string(),
                  (folder_ / "kernels.cpp").string(), (folder_ / "log").string());
  if (std::system(line.c_str()) != 0) throw failure(read_bytes(folder_ / "log"));
  library_ = dlopen((folder_ / "kernels.so").c_str(), RTLD_NOW);
  if (library_ == nullptr) throw failure(dlerror());
}

void HostKernels::run(std::size_t number, std::vector<void*> parameters) const {
  using Run = void (*)(void**, unsigned, unsigned);
  const auto run = reinterpret_cast<Run>(dlsym(library_, fmt::format("run_{}", number).c_str()));
  const cuda::KernelSource& kernel = kernels_.at(number);
  run(parameters.data(), static_cast<unsigned>(kernel.blocks),
      static_cast<unsigned>(kernel.threads));
}

}  // namespace facet::test
