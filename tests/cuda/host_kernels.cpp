#include "tests/cuda/host_kernels.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

#include "ir/error.h"
#include "tests/support/paths.h"

namespace facet::test {
namespace {

// Calls a kernel with as many addresses as it has parameters, once for every thread.
constexpr const char* kRunner = R"(
#include <cstddef>
#include <utility>
template <class... Parameters>
void facet_run(void (*kernel)(Parameters...), void** parameters, unsigned blocks, unsigned threads, bool meets) {
  gridDim = {blocks, 1, 1};
  blockDim = {threads, 1, 1};
  auto call = [=]<std::size_t... I>(std::index_sequence<I...>) {
    kernel(static_cast<Parameters>(parameters[I])...);
  };
  auto once = [=] { call(std::index_sequence_for<Parameters...>()); };
  const auto thread = [](void* self) { (*static_cast<decltype(once)*>(self))(); };
  for (unsigned b = 0; b < blocks; ++b) {
    blockIdx = {b, 0, 0};
    if (meets) {
      facet_host::run_block(threads, thread, &once);
      continue;
    }
    for (unsigned t = 0; t < threads; ++t) {
      threadIdx = {t, 0, 0};
      once();
    }
  }
}
)";

/// Whether threads of the kernel wait for each other.
bool meets(const std::string& text) {
  for (const char* word : {"__sync", "warp_", "block_", "exchange", "multiply"}) {
    if (text.find(word) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

std::size_t HostKernels::add(const cuda::KernelSource& kernel) {
  kernels_.push_back(kernel);
  return kernels_.size() - 1;
}

void HostKernels::compile() {
  std::string text = "#include \"tests/cuda/host_device.h\"\n" + cuda::kernel_prelude() + kRunner;
  for (std::size_t i = 0; i < kernels_.size(); ++i) {
    std::string kernel = kernels_[i].text;
    const std::string name = fmt::format("kernel_{}", i);
    kernel.replace(kernel.find(kernels_[i].name + "("), kernels_[i].name.size(), name);
    text += fmt::format("namespace of_{} {{\n{}}}\nusing of_{}::{};\n", name, kernel, name, name);
    text += fmt::format(
        "extern \"C\" void run_{0}(void** p, unsigned blocks, unsigned threads) {{ "
        "facet_run(kernel_{0}, p, blocks, threads, {1}); }}\n",
        i, meets(kernel));
  }
  write_bytes(folder_ / "kernels.cpp", text);
  // What loads 16 bytes from elsewhere than a multiple of 16 stops the test, as it would a device.
  const std::string line = fmt::format(
      "{} -std=c++20 -O0 -fPIC -shared -ffp-contract=off -w -fsanitize=alignment "
      "-fsanitize-undefined-trap-on-error -I'{}' -o '{}' '{}' >'{}' 2>&1",
      HOST_COMPILER, testing::test_data().parent_path().string(), (folder_ / "kernels.so").string(),
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
