#include <cuda.h>
#include <cudnn_graph.h>
#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <string_view>

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

  std::string missing_features() const override {
    return "Facet's GPU backend makes plans and kernels, but does not run them yet; compute with "
           "--device cpu";
  }
};

}  // namespace
}  // namespace facet::cuda

extern "C" __attribute__((visibility("default"))) const facet::DeviceModule* facet_device_module(
    const char* host_interface) {
  static const facet::cuda::CudaModule module;
  return std::string_view(host_interface) == facet::kDeviceInterface ? &module : nullptr;
}
