#pragma once

#include <span>

#include "backends/backend.h"
#include "backends/cuda/kernels/kernel_source.h"

namespace facet::cuda {

/// Ops that read labels i64 [N] (ir/ops/labels.cpp): cross_entropy and its gradient, pick and its
/// gradient, place, gather_rows, owed_rows, scatter_add_rows. Margins of ArcFace and CosFace are
/// made of pick, place and scalar functions.
bool is_labels(const Node& node);

/// One kernel for such a node. A label outside the classes is a row without target. cross_entropy
/// takes a block for each row and reads it once, 16 bytes at a time wherever it begins, and so does
/// the gradient of long rows; the others take a thread for neighbours in a row of the result. Sums
/// are f32 in a fixed order: scatter_add_rows looks for the rows of each label in turn, so that
/// nothing is added atomically. Throws Error(failure) for another node, for matrices whose rows are
/// not side by side, and for results of 2^31 elements or more.
KernelSequence labels_kernels(const Node& node, std::span<const View> operands,
                              std::span<const View> results);

}  // namespace facet::cuda
