#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/host_tensor.h"
#include "runtime/formats/safetensors.h"

namespace facet {

struct ImportOptions {
  /// Extents of dynamic dimensions by name (`dim_param`; unnamed ones get names, see import_onnx).
  std::map<std::string, std::int64_t> dims;
  /// Values of graph inputs that may decide shapes. One is used, and the graph fixed to it, only if
  /// an operator needs to know it at import; otherwise the input stays an input.
  TensorMap bindings;
  /// Shapes of graph inputs by name: they give extents to the dimensions the model leaves open.
  std::map<std::string, std::vector<std::int64_t>> input_shapes;
};

/// An ONNX model as a graph with its weights.
struct ImportedModel {
  Graph graph;
  /// Values of all parameters of `graph`, by key.
  TensorMap weights;
  /// The model's `metadata_props`, producer and documentation.
  Metadata metadata;
  /// What was read in another way than the file says, one line each.
  std::vector<std::string> warnings;
  /// Inputs whose values (of `ImportOptions::bindings`) are built into the graph.
  std::vector<std::string> bound_inputs;
  std::int64_t opset = 0;  ///< of the file
};

/// Reads an ONNX model of opset 7 to 22. It is lifted to opset 22 by ONNX's own version converter
/// where that can be done; its functions are inlined.
///
/// Initializers that are float, have an axis and are read as values become parameters, named as they
/// are; all others become constants. A float ConstantOfShape counts as a parameter that is not
/// trained. Node names become scopes, and taps by the same name. Dynamic dimensions become symbols:
/// named ones by their name, unnamed leading ones `N`, others INPUT_AXIS.
///
/// The file is validated before its tensors are read: at most 2 GiB without external data, which must
/// lie in the model's folder. Throws Error(failure) for a broken or hostile file, and for a model
/// with what Facet cannot do: one message that lists every such node, its operator and the reason.
ImportedModel import_onnx(const std::filesystem::path& path, const ImportOptions& options = {});

/// The same from memory: `folder` is where external data may lie (empty: it is refused), `name` is
/// what messages call the model.
ImportedModel import_onnx(std::span<const std::byte> bytes, const std::filesystem::path& folder,
                          const std::string& name, const ImportOptions& options = {});

/// What a model takes and gives.
struct OnnxSignature {
  std::vector<std::string> inputs;  ///< without those that are initializers
  std::vector<std::string> outputs;
  /// The `input` nodes import_onnx would make, and nothing else; inputs of types Facet has not are
  /// missing.
  Graph graph;
};
/// Reads the signature alone. Throws as import_onnx does for a broken file.
OnnxSignature read_onnx_signature(const std::filesystem::path& path);

/// Reads one tensor from a file of ONNX's TensorProto (`.pb`). Throws Error(failure).
HostTensor read_onnx_tensor(const std::filesystem::path& path);

}  // namespace facet
