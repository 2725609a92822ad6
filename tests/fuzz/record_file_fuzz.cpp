#include <algorithm>

#include "runtime/formats/record_file.h"
#include "tests/fuzz/fuzz.h"

/// The input is two bytes, how long the index is, the index (of 0 bytes: there is none) and the
/// records.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  if (size < 2) return 0;
  const std::size_t length = std::min<std::size_t>(data[0] | data[1] << 8, size - 2);
  const auto bytes = fuzz::bytes_of(data + 2, size - 2);
  return fuzz::attempt([&] {
    const auto index = length == 0 ? nullptr : MappedFile::copy_of(bytes.first(length), "x.idx");
    const RecordFile file(MappedFile::copy_of(bytes.subspan(length), "x.rec"), index);
    for (std::int64_t item = 0; item < file.size(); ++item) {
      fuzz::attempt([&] {
        const Record record = file.read(item);
        if (record.labels.empty()) __builtin_trap();
        unsigned sum = 0;
        for (const std::byte byte : record.picture) sum += std::to_integer<unsigned>(byte);
        volatile unsigned sink = sum;
        (void)sink;
      });
      fuzz::attempt([&] {
        if (file.label(item) < 0) __builtin_trap();
      });
    }
  });
}
