#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "runtime/device_modules.h"
#include "tests/cuda/run/cuda_run.h"
#include "tests/support/device.h"

namespace facet::test {

/// The device "cuda" over a driver that computes on the host. All backends share the driver, and
/// with it the kernels that it has compiled.
class HostGpuModule final : public DeviceModule {
 public:
  std::string_view name() const override { return "cuda"; }
  std::string libraries() const override { return "a driver that computes on the host"; }
  std::string missing_device() const override { return {}; }
  std::unique_ptr<Backend> make_backend(const DeviceOptions& options) const override {
    return fake_cuda_backend(driver_, options.memory_limit);
  }

 private:
  std::shared_ptr<FakeDriver> driver_ = std::make_shared<FakeDriver>();
};

/// From now on whatever is asked for the device "cuda", a whole training say, runs on the GPU where
/// FACET_TEST_DEVICE names it, else on the host's.
inline void provide_gpu() {
  static const bool is_there = testing::device_options().device == Device::cuda;
  static const auto* const module = is_there ? nullptr : new HostGpuModule();
  if (module != nullptr) provide_device_module(*module);
}

}  // namespace facet::test
