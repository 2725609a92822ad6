#include "runtime/formats/torch_file.h"
#include "tests/formats/zip_writer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tensors.h"

/// The input is the data.pkl of an archive whose storages "0" and "1" have 24 and 64 bytes: an
/// archive's checksums would keep changed pickles from being read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  const std::string archive =
      test::make_zip({{"a/data.pkl", std::string(fuzz::text_of(data, size))},
                      {"a/data/0", std::string(24, '\1')},
                      {"a/data/1", std::string(64, '\0')}});
  return fuzz::attempt([&] {
    fuzz::touch_all(read_torch(MappedFile::copy_of(std::as_bytes(std::span(archive)), "x")));
  });
}
