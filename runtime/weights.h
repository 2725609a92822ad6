#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/host_tensor.h"

namespace facet {

/// Fresh parameters by the graph's initialisers, a function of `seed` and the key alone, so that a
/// parameter does not change when another is added.
TensorMap random_weights(const Graph& graph, std::uint64_t seed);

/// Reads a whole module's state_dict from a safetensors file ("module." prefixes are stripped) and
/// checks it against the graph's parameters. Throws Error(failure) with the complete list of missing,
/// unexpected and mis-shaped tensors; nothing is returned half. Float tensors of another dtype are
/// converted to f32. The tensors map the file.
TensorMap load_weights(const Graph& graph, const std::string& path);

/// "random:SEED" or a path.
TensorMap resolve_weights(const Graph& graph, const std::string& specification);

}  // namespace facet
