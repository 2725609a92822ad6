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

/// Weights to try a network with before it is trained: as `random_weights`, but every layer keeps the
/// size of its activations - weights uniform(-a, a), a = sqrt(6 / fan_in), norm weights in [0.4, 0.6).
/// The initialisers alone let deep residual networks overflow while running statistics are fresh.
TensorMap trial_weights(const Graph& graph, std::uint64_t seed);

/// Reads a whole module's state_dict from a file (read_weights_file: safetensors, the index of a
/// sharded model, PyTorch's .pth) and checks it against the graph's parameters. The prefixes
/// "module.", "model." and "_orig_mod." are taken off names that the graph does not have. Throws
/// Error(failure) with the complete list of missing, unexpected (with the nearest missing names) and
/// mis-shaped tensors; nothing is returned half. Floats of another type are converted to that of the
/// parameter, integers too. The tensors map the file. Parameters whose key begins with one of `skip` are
/// neither read nor missed; other tensors whose name does are not unexpected.
TensorMap load_weights(const Graph& graph, const std::string& path,
                       const std::vector<std::string>& skip = {});

/// "random:SEED" for `trial_weights`, or a path for `load_weights`.
TensorMap resolve_weights(const Graph& graph, const std::string& specification);

}  // namespace facet
