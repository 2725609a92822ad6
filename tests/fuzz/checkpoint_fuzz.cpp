#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/tensors.h"
#include "training/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  const fuzz::MemoryFile file(fuzz::bytes_of(data, size));
  return fuzz::attempt([&] { fuzz::touch_all(read_checkpoint(file.path()).tensors); });
}
