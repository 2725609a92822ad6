#pragma once

#include <string>
#include <string_view>

/// What a device's module exports to the program that loads it.
///
/// A device that needs large libraries of its own (a GPU) lives in a shared library,
/// libfacet_<name>.so, that is loaded when the device is asked for: a program that computes on the
/// CPU starts fast and needs none of them. The module has its own copy of ir/ and passes/ and shows
/// one symbol, kDeviceModuleEntry. No exception leaves it.
namespace facet {

/// Both sides must be built from the same interface by the same compiler; the number counts
/// changes.
inline constexpr const char* kDeviceInterface = "facet device interface 1, compiler " __VERSION__;

class DeviceModule {
 public:
  virtual ~DeviceModule() = default;
  /// "cuda".
  virtual std::string_view name() const = 0;
  /// The libraries it was built with: "CUDA 13.0, cuDNN 9.19.0".
  virtual std::string libraries() const = 0;
  /// Why no device can be used on this machine now and what to do about it; empty if one can.
  virtual std::string missing_device() const = 0;
  /// Why networks do not run on a device that is there; empty if they do.
  virtual std::string missing_features() const = 0;
};

inline constexpr const char* kDeviceModuleEntry = "facet_device_module";
/// The entry: the module, which lives as long as the program; null if it was built from another
/// interface than `host_interface`.
using DeviceModuleEntry = const DeviceModule* (*)(const char* host_interface);

}  // namespace facet
