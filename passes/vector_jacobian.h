#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"
#include "passes/training_mode.h"

namespace facet {

/// The graph of a vector-Jacobian product, from an inference graph with static shapes: training mode
/// (dropout off), and an input `cotangent:NAME` for every output in `seeded`. Outputs: `output:NAME`
/// for every output, `input:NAME` for the gradient of every float input, the gradients of all
/// parameters that are no running statistics or index buffers under their keys, `state:KEY` for
/// updated statistics. A parameter or input that the seeded outputs do not depend on gets none.
/// Nothing is updated. Throws as `differentiate` does, and Error(usage) with the nearest names for an
/// unknown output.
/// `fuse` fuses ahead of differentiation (passes/fuse_training.h).
Graph vector_jacobian_product(const Graph& graph, const std::vector<std::string>& seeded,
                              bool fuse = true);

}  // namespace facet
