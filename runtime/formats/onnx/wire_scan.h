#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace facet::onnx_import {

enum class WireMessage { model, tensor };

/// About how many bytes the ONNX message in `bytes` will take once it is parsed, found without
/// allocating: two bytes of a file can make a message of some 200. Throws Error(failure) for bytes
/// that are no protobuf message and for nesting beyond 64 levels.
std::int64_t parsed_size(std::span<const std::byte> bytes, WireMessage kind = WireMessage::model);

}  // namespace facet::onnx_import
