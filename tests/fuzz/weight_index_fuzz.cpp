#include "runtime/formats/weight_index.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  return fuzz::attempt([&] {
    for (const auto& [name, file] : parse_weight_index(fuzz::text_of(data, size))) {
      if (file.find('/') != std::string::npos || file == "..") std::abort();  // out of the folder
    }
  });
}
