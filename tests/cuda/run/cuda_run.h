#pragma once

#include <memory>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "runtime/compile_internal.h"
#include "tests/cuda/cuda_case.h"
#include "tests/cuda/run/fake_driver.h"
#include "tests/support/device.h"

namespace facet::test {

/// The GPU backend on a driver that computes on the host, planned for an H200.
inline std::unique_ptr<Backend> fake_cuda_backend(const std::shared_ptr<FakeDriver>& driver,
                                                  std::int64_t memory_limit = 0, int threads = 1) {
  const std::shared_ptr<cuda::CudnnPlanner> planner(std::shared_ptr<void>(), &h200_planner());
  const auto memory = std::make_shared<cuda::DeviceMemory>(driver);
  memory->set_limit(memory_limit);
  return std::make_unique<cuda::CudaBackend>(driver, memory, planner, cuda::EngineRules{}, threads);
}

/// `compile` for such a device.
inline std::shared_ptr<const Executable> compile_on(const std::shared_ptr<FakeDriver>& driver,
                                                    const Graph& graph, const TensorMap& weights,
                                                    CompileOptions options, std::int64_t batch,
                                                    int threads = 1) {
  options.device = Device::cuda;
  return compile_for({fake_cuda_backend(driver, options.memory_limit, threads), make_cpu_backend()},
                     graph, weights, options, batch);
}

/// `compile` for the GPU where FACET_TEST_DEVICE names it, else for a driver that computes on the
/// host: what holds for both is tested by it.
inline std::shared_ptr<const Executable> compile_on_gpu(const Graph& graph,
                                                        const TensorMap& weights,
                                                        CompileOptions options = {},
                                                        std::int64_t batch = 1) {
  options.device = testing::device_options().device;
  if (options.device == Device::cuda) return compile(graph, weights, options, batch);
  return compile_on(std::make_shared<FakeDriver>(), graph, weights, std::move(options), batch);
}

}  // namespace facet::test
