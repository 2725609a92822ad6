#pragma once

#include <filesystem>
#include <string>

namespace facet {

/// An ONNX file in ONNX's textual syntax, without the numbers of large tensors, after the official
/// checker has seen the file in full, external data and strict shape inference included. Throws
/// Error(failure) with the checker's words.
std::string onnx_text(const std::filesystem::path& path);

}  // namespace facet
