#pragma once

#include <string>
#include <vector>

#include "cli/common.h"

namespace facet::cli {

/// Reads the files that `--input [name=]file` names: safetensors by tensor names, npy, photos as the
/// model takes them. Several photos for one input make a batch, in their order. Throws Error(usage)
/// with the nearest names for an unknown input, and for a missing, doubly given or ill-shaped one
/// (with what is expected); Error(failure) for a file that cannot be read.
TensorMap read_inputs(const Model& model, const std::vector<std::string>& arguments);

/// The batch the inputs are for; 1 if the network has no symbol. Throws Error(usage) for a missing
/// or ill-shaped input.
std::int64_t check_inputs(const Graph& graph, const TensorMap& inputs);

}  // namespace facet::cli
