#pragma once

#include <string>

namespace facet::cuda {

/// What asking NVIDIA's driver for a GPU found. Codes are the driver's (CUresult), 0 is success.
struct DriverProbe {
  std::string
      load_error;  ///< the loader's words if libcuda.so.1 is not there; the rest is unset then
  int initialize_code = 0;  ///< of cuInit
  int driver_version = 0;   ///< newest CUDA it runs, 13000 for 13.0
  int device_count = 0;
  int capability = 0;  ///< of the first device: 90 for 9.0
  std::string device_name;
};

/// Loads libcuda.so.1, which stays loaded, and asks it.
DriverProbe probe_driver();

/// What is missing for the first device to be used, and what to do: no driver, a driver too old, no
/// device, a device too old. Empty if nothing is. `visible` is the environment's
/// CUDA_VISIBLE_DEVICES, null where it is not set: it can hide devices.
std::string describe_missing(const DriverProbe& probe, const char* visible);

}  // namespace facet::cuda
