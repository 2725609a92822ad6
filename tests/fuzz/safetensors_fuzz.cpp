#include "runtime/formats/mapped_file.h"
#include "runtime/formats/safetensors.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  return fuzz::attempt([&] {
    fuzz::touch_all(
        read_safetensors(MappedFile::copy_of(fuzz::bytes_of(data, size), "x")).tensors());
  });
}
