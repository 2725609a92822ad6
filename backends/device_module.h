#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "backends/backend.h"

/// What a device's module exports to the program that loads it.
///
/// A device that needs large libraries of its own (a GPU) lives in a shared library,
/// libfacet_<name>.so, that is loaded when the device is asked for: a program that computes on the
/// CPU starts fast and needs none of them. The module has its own copy of ir/ and passes/ and shows
/// one symbol, kDeviceModuleEntry. Graphs, tensors and Error cross between the copies: both sides
/// are built from the same sources by the same compiler, and exceptions are matched by name.
namespace facet {

/// Both sides must be built from the same interface by the same compiler; the number counts
/// changes.
inline constexpr const char* kDeviceInterface = "facet device interface 4, compiler " __VERSION__;

/// How a device is to be used.
struct DeviceOptions {
  std::int64_t memory_limit = 0;  ///< bytes of the device's memory, for the whole program; 0: all
  /// Products of f32 may round their factors to 10 bits of mantissa.
  bool tf32 = false;
  int threads = 1;    ///< that compile kernels at the same time
  bool tune = false;  ///< choose engines by running them
};

class DeviceModule {
 public:
  virtual ~DeviceModule() = default;
  /// "cuda".
  virtual std::string_view name() const = 0;
  /// The libraries it was built with: "CUDA 13.0, cuDNN 9.19.0".
  virtual std::string libraries() const = 0;
  /// Why no device can be used on this machine now and what to do about it; empty if one can.
  virtual std::string missing_device() const = 0;
  /// The device as a backend, which may be made several times. Throws Error(failure) if it cannot
  /// be used after all.
  virtual std::unique_ptr<Backend> make_backend(const DeviceOptions& options) const = 0;
};

inline constexpr const char* kDeviceModuleEntry = "facet_device_module";
/// The entry: the module, which lives as long as the program; null if it was built from another
/// interface than `host_interface`.
using DeviceModuleEntry = const DeviceModule* (*)(const char* host_interface);

}  // namespace facet
