#pragma once

#include <filesystem>

namespace facet::testing {

/// The folder `tests/`: golden files are in its `golden/`, small files of other programs in `data/`.
std::filesystem::path test_data();
/// The built command.
std::filesystem::path facet_command_path();
/// The folder of ONNX's own test data; empty where it is not installed.
std::filesystem::path onnx_test_data();

}  // namespace facet::testing
