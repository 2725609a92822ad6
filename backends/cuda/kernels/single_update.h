#pragma once

#include "backends/cuda/kernels/kernel_source.h"
#include "ir/graph.h"

namespace facet::cuda {

/// An optimizer step that has kernels of its own: of rows of a table (sampled class centres), or
/// lars_update, whose rate depends on the tensor's norms.
bool is_single_update(const Node& node);

/// Kernels for such a node, in place: results must lie over the states they are of. Rows that are
/// not named stay as they are, one outside the table is left out, and what a row is owed is paid on
/// the way. lars_update takes a kernel for the squares and one for the step, whose blocks add up
/// the same parts in the same order. A learning rate that is not finite changes nothing. Values are
/// dense f32. Throws Error(failure) for another node and for 2^31 elements of the gradient or more.
KernelSequence single_update_kernels(const Node& node);

}  // namespace facet::cuda
