#include "cli/resident_memory.h"

#include <fstream>
#include <limits>
#include <string>

namespace facet::cli {

ResidentMemory resident_memory() {
  std::ifstream status("/proc/self/status");
  ResidentMemory memory;
  for (std::string key; status >> key;) {
    std::int64_t* const field = key == "VmRSS:"   ? &memory.current
                                : key == "VmHWM:" ? &memory.peak
                                                  : nullptr;
    if (field != nullptr && status >> *field) *field *= 1024;  // in kB there
    status.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return memory;
}

}  // namespace facet::cli
