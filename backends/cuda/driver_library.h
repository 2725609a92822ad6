#pragma once

#include <cuda.h>

namespace facet::cuda {

/// The functions of NVIDIA's driver that the backend calls, found in libcuda.so.1 by name: nothing
/// links to it. Types and versions are those of cuda.h.
struct DriverLibrary {
  decltype(cuInit)* init = nullptr;
  decltype(cuGetErrorString)* error_string = nullptr;
  decltype(cuDeviceGet)* device_get = nullptr;
  decltype(cuDeviceGetName)* device_name = nullptr;
  decltype(cuDeviceGetAttribute)* device_attribute = nullptr;
  decltype(cuDeviceTotalMem)* device_bytes = nullptr;
  decltype(cuDevicePrimaryCtxRetain)* retain_context = nullptr;
  decltype(cuCtxSetCurrent)* set_context = nullptr;
  decltype(cuMemAlloc)* allocate = nullptr;
  decltype(cuMemFree)* free = nullptr;
  decltype(cuMemAllocHost)* allocate_pinned = nullptr;
  decltype(cuMemFreeHost)* free_pinned = nullptr;
  decltype(cuMemGetInfo)* memory = nullptr;
  decltype(cuStreamCreate)* make_stream = nullptr;
  decltype(cuStreamDestroy)* destroy_stream = nullptr;
  decltype(cuStreamSynchronize)* synchronize_stream = nullptr;
  decltype(cuStreamWaitEvent)* wait = nullptr;
  decltype(cuEventCreate)* make_event = nullptr;
  decltype(cuEventDestroy)* destroy_event = nullptr;
  decltype(cuEventRecord)* record = nullptr;
  decltype(cuEventSynchronize)* synchronize_event = nullptr;
  decltype(cuEventElapsedTime)* elapsed = nullptr;
  decltype(cuMemcpyHtoDAsync)* copy_in = nullptr;
  decltype(cuMemcpyDtoHAsync)* copy_out = nullptr;
  decltype(cuMemcpyDtoDAsync)* copy = nullptr;
  decltype(cuMemsetD8Async)* clear = nullptr;
  decltype(cuModuleLoadData)* load_module = nullptr;
  decltype(cuModuleGetFunction)* get_function = nullptr;
  decltype(cuFuncSetAttribute)* set_function_attribute = nullptr;
  decltype(cuLaunchKernel)* launch = nullptr;
  decltype(cuStreamBeginCapture)* begin_capture = nullptr;
  decltype(cuStreamEndCapture)* end_capture = nullptr;
  decltype(cuGraphInstantiate)* instantiate = nullptr;
  decltype(cuGraphDestroy)* destroy_graph = nullptr;
  decltype(cuGraphExecDestroy)* destroy_executable = nullptr;
  decltype(cuGraphLaunch)* launch_graph = nullptr;
};

/// Loads the driver, which stays loaded. Throws Error(failure) if it or a function is not there.
DriverLibrary load_driver_library();

}  // namespace facet::cuda
