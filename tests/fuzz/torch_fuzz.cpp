#include "runtime/formats/torch_file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  return fuzz::attempt(
      [&] { fuzz::touch_all(read_torch(MappedFile::copy_of(fuzz::bytes_of(data, size), "x"))); });
}
