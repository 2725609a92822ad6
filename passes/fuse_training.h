#pragma once

#include "ir/graph.h"
#include "passes/pass.h"

namespace facet {

/// What is fused ahead of differentiation, so that the backward pass is fused with it:
///
///   sibling convolutions    one conv_branches (merge-branches), whose gradients are one wide data and
///                           one wide weight gradient;
///   batch_norm_train        takes a relu, prelu, addition, or addition and relu behind it as its tail:
///                           one pass over memory forward, two backward. One of a flattened map comes
///                           ahead of the flattening, without a remark;
///   attention               an sdpa, whose gradient makes scores and weights again (fuse_attention.cpp).
///
/// `graph` is in training mode and not differentiated yet. Refused: a normalised value that others read
/// too or that is an output; a residual that depends on statistics that are not there yet; one slope
/// for channels of another axis.
void fuse_for_training(Graph& graph);
/// The same, with what was fused and what was not in context.remarks.
void fuse_for_training(Graph& graph, PassContext& context);
/// The attention alone. Returns whether anything was fused.
bool fuse_training_attention(Graph& graph, PassContext& context);

}  // namespace facet
