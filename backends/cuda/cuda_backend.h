#pragma once

#include <memory>

#include "backends/backend.h"
#include "backends/cuda/cudnn_planner.h"
#include "backends/cuda/device_memory.h"
#include "backends/cuda/driver_api.h"
#include "backends/cuda/lowering.h"

namespace facet::cuda {

/// An NVIDIA GPU: convolutions and norms as cuDNN graphs, everything memory-bound by generated
/// kernels; images are NHWC. Which is which stands in lowering.cpp. Thread-safe. Kernels use the
/// driver until they are gone.
class CudaBackend final : public Backend {
 public:
  /// `planner` plans for `driver`'s device; `threads` compile kernels and build plans.
  CudaBackend(std::shared_ptr<DriverApi> driver, std::shared_ptr<DeviceMemory> memory,
              std::shared_ptr<CudnnPlanner> planner, const EngineRules& rules, int threads = 1)
      : driver_(std::move(driver)),
        memory_(std::move(memory)),
        planner_(std::move(planner)),
        rules_(rules),
        threads_(threads) {}

  std::string_view name() const override { return "cuda"; }
  bool supports(const Node& node) const override;
  bool accepts_epilogue(const Node& node, std::string_view entry, const Type* extra) const override;
  LayoutChoice choose_layouts(const Node& node) const override;
  /// As convolutions read weights: [out, height, width, in].
  Layout state_layout(const Type& type) const override;
  bool writes_slices(const Node& node, int index) const override;
  bool reads_slices(const Node& node, int index) const override;
  /// Kernels move 16 bytes at a time.
  std::int64_t address_alignment() const override { return 16; }
  std::unique_ptr<Kernel> lower(const Node& node, std::span<const View> operands,
                                std::span<const View> results) const override;
  bool runs_together(const Node& a, const Node& b) const override;
  std::unique_ptr<Kernel> lower_together(std::span<const Node* const> nodes) const override;
  int lowering_threads() const override { return threads_; }
  std::optional<Ceilings> measure_ceilings() const override;
  std::shared_ptr<DeviceQueue> make_queue() const override;

 private:
  LoweringContext context() const { return {*planner_, *driver_, rules_}; }

  std::shared_ptr<DriverApi> driver_;
  std::shared_ptr<DeviceMemory> memory_;
  std::shared_ptr<CudnnPlanner> planner_;
  EngineRules rules_;
  int threads_ = 1;
};

}  // namespace facet::cuda
