#pragma once

#include "ir/graph.h"
#include "ir/host_tensor.h"
#include "training/recipe.h"

namespace facet {

/// What a training begins with, by key of `step`, the training step of `network`: fresh values by
/// the recipe's seed, in their place those of `model.init` but for `model.init_skip`, then branches
/// as `model.init_branches` says, and averages as copies. Tensors are not shared with the file.
/// Throws as `load_weights`, and Error(usage) for branches that cannot start as a copy of the
/// trunk.
TensorMap initial_weights(const Graph& network, const Graph& step, const Recipe& recipe);

/// The specialised initialisation of Deep Coupled ResNet: of every `branches.<k>` fc1 becomes the
/// identity without bias, so that its embedding is the trunk's, and fc2 a copy of `trunk.fc2`. The
/// branch's logits are not the trunk's: a PReLU stands between fc1 and fc2. Throws Error(usage) if
/// there are no branches, or if widths or classes of trunk and branch differ.
void copy_trunk_to_branches(TensorMap& weights);

}  // namespace facet
