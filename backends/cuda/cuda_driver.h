#pragma once

#include <memory>

#include "backends/cuda/driver_api.h"

namespace facet::cuda {

struct OpenedDriver {
  std::shared_ptr<DriverApi> driver;
  std::shared_ptr<CudnnPlanner> planner;  ///< for the driver's device
};

/// The first GPU by NVIDIA's driver and cuDNN, in the primary context, which other libraries of the
/// process share. Kernels are kept in a KernelCache in the user's cache folder; functions and plans
/// as long as the driver is. Throws Error(failure) if something does not start; `describe_missing`
/// (driver.h) says more before.
OpenedDriver open_cuda_driver();

}  // namespace facet::cuda
