#include <vector>

#include "runtime/formats/image.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  return fuzz::attempt([&] {
    // A copy of its own size: reading beyond it is a fault.
    const std::vector<std::uint8_t> bytes(data, data + size);
    check_image(decode_image(std::as_bytes(std::span(bytes)), "x"));
  });
}
