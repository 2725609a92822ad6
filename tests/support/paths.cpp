#include "tests/support/paths.h"

// The only file that is compiled with the machine's paths: a compiler cache serves the others in every checkout.
namespace facet::testing {

std::filesystem::path test_data() { return FACET_TEST_DATA; }
std::filesystem::path facet_command_path() { return FACET_COMMAND; }
std::filesystem::path onnx_test_data() { return FACET_ONNX_TEST_DATA; }

}  // namespace facet::testing
