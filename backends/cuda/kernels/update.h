#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/cuda/kernels/kernel_source.h"
#include "ir/graph.h"

namespace facet::cuda {

/// sgd_update, adam_update or ema_update.
bool is_update(const Node& node);

/// Whether one kernel may do both: the same op, attributes, learning rate and step.
bool updates_together(const Node& a, const Node& b);

/// A row of the table that the kernel reads, without the addresses.
struct UpdateRow {
  std::int64_t count = 0;  ///< elements
  int first_block = 0;
};

/// One kernel for the optimizer steps of many tensors: 4096 elements a block, 16 bytes at a time.
/// Its parameters are the table (struct Update of the prelude, a row for each node) and, where the
/// op has them, the learning rate and the step, which are operands of every node. A learning rate
/// that is not finite changes nothing, as on the CPU.
struct UpdateKernel {
  KernelSource kernel;
  std::vector<UpdateRow> rows;
};

/// Nodes of which `updates_together` holds. Throws Error(failure) for another op.
UpdateKernel update_kernel(std::span<const Node* const> nodes);

}  // namespace facet::cuda
