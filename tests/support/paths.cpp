#include "tests/support/paths.h"

#include <cstdlib>

// The only file that is compiled with the machine's paths: a compiler cache serves the others in
// every checkout.
namespace facet::testing {
namespace {

/// Where tests run beside the sources, and on another machine, where the environment says it.
std::filesystem::path place(const char* variable, const char* built_with) {
  const char* const given = std::getenv(variable);
  return given != nullptr && *given != '\0' ? given : built_with;
}

}  // namespace

std::filesystem::path test_data() { return place("FACET_TEST_DATA", FACET_TEST_DATA); }
std::filesystem::path facet_command_path() { return place("FACET_COMMAND", FACET_COMMAND); }
std::filesystem::path onnx_test_data() { return FACET_ONNX_TEST_DATA; }

}  // namespace facet::testing
