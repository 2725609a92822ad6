#pragma once

#include <memory>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "runtime/compile_internal.h"
#include "tests/cuda/cuda_case.h"
#include "tests/cuda/run/fake_driver.h"

namespace facet::test {

/// The GPU backend on a driver that computes on the host, planned for an H200.
inline std::unique_ptr<Backend> fake_cuda_backend(const std::shared_ptr<FakeDriver>& driver,
                                                  std::int64_t memory_limit = 0) {
  const std::shared_ptr<cuda::CudnnPlanner> planner(std::shared_ptr<void>(), &h200_planner());
  const auto memory = std::make_shared<cuda::DeviceMemory>(driver);
  memory->set_limit(memory_limit);
  return std::make_unique<cuda::CudaBackend>(driver, memory, planner, cuda::EngineRules{});
}

/// `compile` for such a device.
inline std::shared_ptr<const Executable> compile_on(const std::shared_ptr<FakeDriver>& driver,
                                                    const Graph& graph, const TensorMap& weights,
                                                    CompileOptions options, std::int64_t batch) {
  options.device = Device::cuda;
  return compile_for({fake_cuda_backend(driver, options.memory_limit), make_cpu_backend()}, graph,
                     weights, options, batch);
}

}  // namespace facet::test
