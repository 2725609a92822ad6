#include "runtime/formats/verification_bin.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  return fuzz::attempt([&] {
    const VerificationBin bin =
        read_verification_bin(MappedFile::copy_of(fuzz::bytes_of(data, size), "x.bin"));
    if (bin.pictures.size() != 2 * bin.same.size() || bin.same.empty()) __builtin_trap();
    const auto all = bin.file->bytes();
    for (const auto picture : bin.pictures) {
      if (picture.empty()) continue;
      if (picture.data() < all.data() ||
          picture.data() + picture.size() > all.data() + all.size()) {
        __builtin_trap();
      }
    }
  });
}
