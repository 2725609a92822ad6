#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "backends/cuda/cudnn_descriptor.h"
#include "backends/cuda/driver_api.h"

namespace facet::cuda {

/// A plan that cuDNN has built.
class CudnnPlan final : public GraphPlan {
 public:
  /// `configuration` is what the plan was made from, kept as long as it; none for one made from
  /// text.
  CudnnPlan(Descriptor plan, std::optional<Descriptor> configuration, std::int64_t workspace_bytes,
            std::int64_t engine)
      : configuration_(std::move(configuration)),
        plan_(std::move(plan)),
        workspace_bytes_(workspace_bytes),
        engine_(engine) {}

  std::int64_t workspace_bytes() const override { return workspace_bytes_; }
  std::int64_t engine() const override { return engine_; }
  /// The plan as cuDNN writes it, from which it can be made again for the same device.
  std::string text() const { return plan_.get_text(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION); }

  /// Puts the plan on the stream of `handle`. Addresses and workspace as DriverApi::run has them.
  /// Throws Error(failure) with cuDNN's reason.
  void run(cudnnHandle_t handle, const OperationGraph& graph, std::span<std::byte* const> addresses,
           std::byte* workspace) const;

 private:
  std::optional<Descriptor> configuration_;
  Descriptor plan_;
  std::int64_t workspace_bytes_ = 0;
  std::int64_t engine_ = 0;
};

}  // namespace facet::cuda
