#pragma once

#include <cstdlib>

#include "runtime/compile.h"

namespace facet::testing {

/// Compiles for the device under test: the one that the environment's FACET_TEST_DEVICE names, else
/// the CPU. Throws Error(usage) for an unknown name. The oracle stays the reference device.
inline CompileOptions device_options(Precision precision = Precision::f32) {
  CompileOptions options;
  const char* const name = std::getenv("FACET_TEST_DEVICE");
  if (name != nullptr && *name != '\0') options.device = parse_device(name);
  options.precision = precision;
  return options;
}

}  // namespace facet::testing
