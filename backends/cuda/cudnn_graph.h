#pragma once

#include <vector>

#include "backends/cuda/cudnn_descriptor.h"
#include "backends/cuda/operation_graph.h"

namespace facet::cuda {

/// An operation graph as cuDNN has it, finalised. Tensor `i` of the description has the unique id
/// i + 1.
class CudnnGraph {
 public:
  /// Throws Error(failure) with the graph's text and cuDNN's reason.
  explicit CudnnGraph(const OperationGraph& graph);
  const Descriptor& descriptor() const { return graph_; }

 private:
  void build(const OperationGraph& graph);

  std::vector<Descriptor> parts_;  ///< tensors and descriptions of operations; they must live on
  Descriptor graph_;
};

}  // namespace facet::cuda
