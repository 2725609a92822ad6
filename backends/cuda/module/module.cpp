#include <cuda.h>
#include <cudnn_graph.h>
#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <memory>
#include <string_view>

#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/cuda_driver.h"
#include "backends/cuda/driver.h"
#include "backends/device_module.h"

namespace facet::cuda {
namespace {

class CudaModule final : public DeviceModule {
 public:
  std::string_view name() const override { return "cuda"; }

  std::string libraries() const override {
    return fmt::format("CUDA {}.{}, cuDNN {}.{}.{}", CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10,
                       CUDNN_MAJOR, CUDNN_MINOR, CUDNN_PATCHLEVEL);
  }

  std::string missing_device() const override {
    try {
      return describe_missing(probe_driver(), std::getenv("CUDA_VISIBLE_DEVICES"));
    } catch (const std::exception& error) {  // no memory for a message
      return error.what();
    }
  }

  std::unique_ptr<Backend> make_backend(const DeviceOptions& options) const override {
    // Opened once and never closed: kernels may run until the program ends.
    static const auto* const opened = new OpenedDriver(open_cuda_driver());
    static const auto memory = std::make_shared<DeviceMemory>(opened->driver);
    memory->set_limit(options.memory_limit);
    EngineRules rules;
    rules.tf32 = options.tf32;
    rules.timed = options.tune;
    return std::make_unique<CudaBackend>(opened->driver, memory, opened->planner, rules,
                                         options.threads);
  }
};

}  // namespace
}  // namespace facet::cuda

extern "C" __attribute__((visibility("default"))) const facet::DeviceModule* facet_device_module(
    const char* host_interface) {
  static const facet::cuda::CudaModule module;
  return std::string_view(host_interface) == facet::kDeviceInterface ? &module : nullptr;
}
