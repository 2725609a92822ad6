#pragma once

#include "backends/cuda/cudnn_descriptor.h"
#include "backends/cuda/cudnn_operations.h"
#include "backends/cuda/operation_graph.h"

namespace facet::cuda {

/// The unique id of tensor `number` of a graph.
constexpr std::int64_t tensor_id(std::size_t number) {
  return static_cast<std::int64_t>(number) + 1;
}

/// The unique id of number `setting` of step `step`, which is given with the addresses when a plan
/// runs.
constexpr std::int64_t setting_id(std::size_t step, std::size_t setting) {
  return 10000 + 10 * static_cast<std::int64_t>(step) + static_cast<std::int64_t>(setting);
}

/// An operation graph as cuDNN has it, finalised. Its tensors have the ids of `tensor_id`. `handle`
/// is that of the device it is for, null for a device that is only described.
class CudnnGraph {
 public:
  /// Throws Error(failure) with the graph's text and cuDNN's reason.
  explicit CudnnGraph(const OperationGraph& graph, cudnnHandle_t handle = nullptr);
  const Descriptor& descriptor() const { return graph_; }

 private:
  void build(const OperationGraph& graph, cudnnHandle_t handle);

  GraphParts parts_;
  Descriptor graph_;
};

}  // namespace facet::cuda
