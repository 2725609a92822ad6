#pragma once

#include <filesystem>

#include "runtime/formats/safetensors.h"

namespace facet {

/// Tensors out of a weights file of any kind, in its order, and the free text with them.
struct WeightsFile {
  NamedTensors tensors;
  Metadata metadata;
};

/// Reads weights, told apart by their first bytes but for the index, which goes by its name:
///   safetensors            see read_safetensors
///   *.json                 a sharded model: the files of its "weight_map", which must lie in the
///                          index's own folder and hold exactly the tensors it lists
///   *.onnx                 the parameters import_onnx finds
///   .pth, .pt, .bin        what torch.save wrote; see read_torch
/// Tensors map the files where they can. Throws Error(failure) that names the file.
WeightsFile read_weights_file(const std::filesystem::path& path);

/// Writes what `read_weights_file` reads of `from` to `to`, a safetensors file (atomically): names,
/// types and metadata as they are. Throws Error(usage) if `to` is not named *.safetensors.
/// Returns how many tensors there are.
std::size_t convert_weights(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace facet
