#pragma once

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "ir/host_tensor.h"

namespace facet::onnx_import {

/// An initializer's elements, or why Facet cannot hold them (its element type).
struct Payload {
  HostTensor tensor;
  std::string problem;
};

/// A model file whose every tensor has been checked.
struct ModelFile {
  /// Large initializers of the main graph are cut down to one byte: what checks and converts the
  /// model copies it several times.
  ::onnx::ModelProto proto;
  /// The initializers of the main graph by name.
  std::map<std::string, Payload> payloads;
};

/// Parses and checks a model. External data must be a regular file in `folder` or below, links
/// resolved; an empty folder refuses it. Throws Error(failure).
ModelFile read_model(std::span<const std::byte> bytes, const std::filesystem::path& folder);

}  // namespace facet::onnx_import
