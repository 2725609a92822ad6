#pragma once

#include <cstdint>

namespace facet::cli {

/// Bytes of physical memory that the process holds: pages of its files and libraries, too. 0 where
/// the system does not tell.
struct ResidentMemory {
  std::int64_t current = 0;  ///< VmRSS of /proc/self/status
  std::int64_t peak = 0;     ///< VmHWM: the highest so far
};
ResidentMemory resident_memory();

}  // namespace facet::cli
