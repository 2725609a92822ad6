#include "backends/cuda/driver.h"

#include <cuda.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <array>

namespace facet::cuda {
namespace {

constexpr int kOldestDriver = 13000;   // what the toolkit's libraries are for
constexpr int kOldestCapability = 80;  // bf16 in tensor cores

/// A function of the driver by the name and type it has in cuda.h; null if it is not there.
template <class Function>
Function* find(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

}  // namespace

DriverProbe probe_driver() {
  DriverProbe probe;
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* text = dlerror();
    probe.load_error = text != nullptr ? text : "libcuda.so.1 cannot be loaded";
    return probe;
  }
  auto* const initialize = find<decltype(cuInit)>(library, "cuInit");
  auto* const version = find<decltype(cuDriverGetVersion)>(library, "cuDriverGetVersion");
  auto* const count = find<decltype(cuDeviceGetCount)>(library, "cuDeviceGetCount");
  auto* const name = find<decltype(cuDeviceGetName)>(library, "cuDeviceGetName");
  auto* const attribute = find<decltype(cuDeviceGetAttribute)>(library, "cuDeviceGetAttribute");
  if (initialize == nullptr || version == nullptr || count == nullptr || name == nullptr ||
      attribute == nullptr) {
    probe.load_error = "libcuda.so.1 is not NVIDIA's: it lacks functions of the driver";
    return probe;
  }
  probe.initialize_code = initialize(0);
  if (probe.initialize_code == CUDA_ERROR_STUB_LIBRARY) {
    probe.load_error = "libcuda.so.1 is the stub that comes with CUDA to link against";
    return probe;
  }
  version(&probe.driver_version);
  if (probe.initialize_code != CUDA_SUCCESS) return probe;
  if (count(&probe.device_count) != CUDA_SUCCESS || probe.device_count == 0) return probe;
  std::array<char, 256> text{};
  name(text.data(), static_cast<int>(text.size()) - 1, 0);
  probe.device_name = text.data();
  int major = 0;
  int minor = 0;
  attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0);
  attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0);
  probe.capability = 10 * major + minor;
  return probe;
}

std::string describe_missing(const DriverProbe& probe, const char* visible) {
  if (!probe.load_error.empty()) {
    return fmt::format(
        "there is no NVIDIA driver ({}); install the driver, 580 or newer, or compute with "
        "--device cpu",
        probe.load_error);
  }
  if (probe.driver_version < kOldestDriver) {
    return fmt::format(
        "NVIDIA's driver runs CUDA {}.{}, and CUDA {}.{} is needed; update the driver to "
        "580 or newer",
        probe.driver_version / 1000, probe.driver_version % 1000 / 10, kOldestDriver / 1000,
        kOldestDriver % 1000 / 10);
  }
  const bool found = probe.initialize_code == CUDA_SUCCESS && probe.device_count > 0;
  if (!found && probe.initialize_code != CUDA_SUCCESS &&
      probe.initialize_code != CUDA_ERROR_NO_DEVICE) {
    return fmt::format("NVIDIA's driver does not start (cuInit: error {}); `nvidia-smi` says more",
                       probe.initialize_code);
  }
  if (!found) {
    const std::string hidden =
        visible != nullptr ? fmt::format(", and CUDA_VISIBLE_DEVICES='{}' may hide it", visible)
                           : "";
    return fmt::format(
        "NVIDIA's driver is there, but it finds no GPU; `nvidia-smi` lists what there is{}; "
        "or compute with --device cpu",
        hidden);
  }
  if (probe.capability < kOldestCapability) {
    return fmt::format(
        "{} has compute capability {}.{}, and {}.{} or newer (Ampere) is needed; compute "
        "with --device cpu",
        probe.device_name, probe.capability / 10, probe.capability % 10, kOldestCapability / 10,
        kOldestCapability % 10);
  }
  return {};
}

}  // namespace facet::cuda
