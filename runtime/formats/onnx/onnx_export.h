#pragma once

#include <filesystem>
#include <optional>

#include "ir/graph.h"
#include "ir/host_tensor.h"
#include "runtime/formats/preprocess.h"
#include "runtime/formats/safetensors.h"

namespace facet {

/// The range of operator sets that a model can be written in.
inline constexpr int kFirstOnnxOpset = 13;
inline constexpr int kLastOnnxOpset = 22;

struct OnnxExportOptions {
  int opset = 17;  ///< 13 to 22: of ONNX's own operators
  /// Weights go to a file beside the model, `<file name>.data`; without it only those of models
  /// above 2 GiB, the most that one protobuf message can hold.
  bool external_data = false;
  /// Batch normalisations and dropouts in training mode, for runtimes that train. Otherwise they
  /// compute as in inference, and a dropout is the identity.
  bool training = false;
  /// How a photo becomes the network's input: `preprocess.*` in the model's metadata.
  std::optional<Preprocess> preprocess;
  /// Further metadata, e.g. where the weights were trained.
  Metadata metadata;
};

/// Writes `graph` as an ONNX model. Inputs, outputs and parameters keep their names, the latter as
/// initializers; nodes are named by their scopes, the second one of a scope "SCOPE/Operator".
/// Symbols become dynamic dimensions of that name. Of the state_dict only what the graph reads is
/// written. Ops that ONNX has not, or not yet at this opset, are decomposed.
///
/// ONNX's checker and its strict shape inference see the model before a file is made. Both files
/// are written beside their final places, then renamed, the data first; after a failure neither is
/// there. The weights are streamed: memory does not grow with them.
///
/// Throws Error(usage) for an opset out of range, for ops that cannot be exported (all of them,
/// with scope and reason), for state updates, for names that collide and for weights that are
/// missing or mis-shaped; Error(failure) when the files cannot be written.
void export_onnx(const Graph& graph, const TensorMap& weights, const std::filesystem::path& path,
                 const OnnxExportOptions& options = {});

}  // namespace facet
