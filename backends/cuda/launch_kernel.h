#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/driver_api.h"
#include "backends/cuda/lowering.h"

namespace facet::cuda {

/// A lowered node, loaded: its functions and plans are on the device, a run only launches.
class LaunchKernel final : public Kernel {
 public:
  /// `name` is the family's. Loads functions, builds plans and chooses algorithms; throws as
  /// DriverApi does, and Error(failure) for a product without an algorithm.
  LaunchKernel(std::string_view name, Lowered lowered, DriverApi& driver, const EngineRules& rules);

  std::string implementation() const override { return implementation_; }
  std::size_t scratch_bytes() const override { return static_cast<std::size_t>(scratch_bytes_); }
  /// `queue` must be a CudaQueue. The callable outlives the kernel.
  std::function<void()> bind(DeviceQueue& queue, std::span<std::byte* const> operands,
                             std::span<std::byte* const> results,
                             std::byte* scratch) const override;

 private:
  /// What became of one launch.
  struct Loaded {
    FunctionHandle function = nullptr;
    std::shared_ptr<const GraphPlan> plan;
    MatmulAlgorithm algorithm;
  };

  std::string implementation_;
  std::shared_ptr<const Lowered> lowered_;
  std::vector<Loaded> loaded_;
  std::int64_t scratch_bytes_ = 0;  ///< the launches' own, and behind it the largest workspace
};

}  // namespace facet::cuda
