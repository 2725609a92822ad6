#pragma once

#include <filesystem>

namespace facet::testing {

/// The folder `tests/`: golden files are in its `golden/`, small files of other programs in
/// `data/`. The environment's FACET_TEST_DATA names another.
std::filesystem::path test_data();
/// The built command, or the one that the environment's FACET_COMMAND names.
std::filesystem::path facet_command_path();
/// The folder of ONNX's own test data; empty where it is not installed.
std::filesystem::path onnx_test_data();

}  // namespace facet::testing
