#include "backends/cuda/driver_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "ir/error.h"

namespace facet::cuda {

DriverLibrary load_driver_library() {
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw failure("libcuda.so.1, NVIDIA's driver, cannot be loaded");
  const auto find = [&](auto& function, const char* name) {
    void* const found = dlsym(library, name);
    if (found == nullptr) throw failure(fmt::format("libcuda.so.1 has no function {}", name));
    function = reinterpret_cast<std::decay_t<decltype(function)>>(found);
  };
  DriverLibrary driver;
  find(driver.init, "cuInit");
  find(driver.error_string, "cuGetErrorString");
  find(driver.device_get, "cuDeviceGet");
  find(driver.device_name, "cuDeviceGetName");
  find(driver.device_attribute, "cuDeviceGetAttribute");
  find(driver.device_bytes, "cuDeviceTotalMem_v2");
  find(driver.retain_context, "cuDevicePrimaryCtxRetain");
  find(driver.set_context, "cuCtxSetCurrent");
  find(driver.allocate, "cuMemAlloc_v2");
  find(driver.free, "cuMemFree_v2");
  find(driver.allocate_pinned, "cuMemAllocHost_v2");
  find(driver.free_pinned, "cuMemFreeHost");
  find(driver.memory, "cuMemGetInfo_v2");
  find(driver.make_stream, "cuStreamCreate");
  find(driver.destroy_stream, "cuStreamDestroy_v2");
  find(driver.synchronize_stream, "cuStreamSynchronize");
  find(driver.wait, "cuStreamWaitEvent");
  find(driver.make_event, "cuEventCreate");
  find(driver.destroy_event, "cuEventDestroy_v2");
  find(driver.record, "cuEventRecord");
  find(driver.synchronize_event, "cuEventSynchronize");
  find(driver.elapsed, "cuEventElapsedTime_v2");
  find(driver.copy_in, "cuMemcpyHtoDAsync_v2");
  find(driver.copy_out, "cuMemcpyDtoHAsync_v2");
  find(driver.copy, "cuMemcpyDtoDAsync_v2");
  find(driver.clear, "cuMemsetD8Async");
  find(driver.load_module, "cuModuleLoadData");
  find(driver.get_function, "cuModuleGetFunction");
  find(driver.set_function_attribute, "cuFuncSetAttribute");
  find(driver.launch, "cuLaunchKernel");
  find(driver.begin_capture, "cuStreamBeginCapture_v2");
  find(driver.end_capture, "cuStreamEndCapture");
  find(driver.instantiate, "cuGraphInstantiateWithFlags");
  find(driver.destroy_graph, "cuGraphDestroy");
  find(driver.destroy_executable, "cuGraphExecDestroy");
  find(driver.launch_graph, "cuGraphLaunch");
  return driver;
}

}  // namespace facet::cuda
