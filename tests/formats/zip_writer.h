#pragma once

#include <zlib.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace facet::test {

/// What goes into an archive; `deflated` packs it.
struct ZipContent {
  std::string name;
  std::string content;
  bool deflated = false;
};

template <class T>
std::string little_endian(T value, int bytes = sizeof(T)) {
  std::string text;
  for (int i = 0; i < bytes; ++i)
    text.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xFF));
  return text;
}

/// A raw deflate stream.
inline std::string deflated(const std::string& text) {
  z_stream stream = {};
  if (deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("zlib cannot start");
  }
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("zlib cannot pack");
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

/// A zip archive of `contents`. With `zip64` the directory has the 64-bit records and fields.
inline std::string make_zip(const std::vector<ZipContent>& contents, bool zip64 = false) {
  std::string file;
  std::string directory;
  for (const ZipContent& entry : contents) {
    const auto* bytes = reinterpret_cast<const Bytef*>(entry.content.data());
    const auto checksum = crc32(0, bytes, static_cast<uInt>(entry.content.size()));
    const std::string stored = entry.deflated ? deflated(entry.content) : entry.content;
    const auto begin = file.size();
    const std::string method = little_endian<std::uint16_t>(entry.deflated ? 8 : 0);
    const std::string checksum_text =
        little_endian<std::uint32_t>(static_cast<std::uint32_t>(checksum));
    const std::string sizes =
        little_endian<std::uint32_t>(static_cast<std::uint32_t>(stored.size())) +
        little_endian<std::uint32_t>(static_cast<std::uint32_t>(entry.content.size()));
    const std::string name_size =
        little_endian<std::uint16_t>(static_cast<std::uint16_t>(entry.name.size()));
    const std::string flags_and_time = method + std::string(4, '\0');
    file += "PK\x03\x04" + std::string("\x14\0\0\0", 4) + flags_and_time + checksum_text + sizes +
            name_size + std::string(2, '\0') + entry.name + stored;
    const std::string extra =
        zip64
            ? little_endian<std::uint16_t>(1) + little_endian<std::uint16_t>(24) +
                  little_endian<std::uint64_t>(entry.content.size()) +
                  little_endian<std::uint64_t>(stored.size()) + little_endian<std::uint64_t>(begin)
            : "";
    const std::string all_ones(4, '\xFF');
    directory +=
        "PK\x01\x02" + std::string("\x14\0\x14\0\0\0", 6) + flags_and_time + checksum_text +
        (zip64 ? all_ones + all_ones : sizes) + name_size +
        little_endian<std::uint16_t>(static_cast<std::uint16_t>(extra.size())) +
        std::string(10, '\0') +
        (zip64 ? all_ones : little_endian<std::uint32_t>(static_cast<std::uint32_t>(begin))) +
        entry.name + extra;
  }
  const auto begin = file.size();
  file += directory;
  const auto count = contents.size();
  if (zip64) {
    const auto record = file.size();
    file += "PK\x06\x06" + little_endian<std::uint64_t>(44) + std::string(12, '\0') +
            little_endian<std::uint64_t>(count) + little_endian<std::uint64_t>(count) +
            little_endian<std::uint64_t>(directory.size()) + little_endian<std::uint64_t>(begin);
    file += "PK\x06\x07" + std::string(4, '\0') + little_endian<std::uint64_t>(record) +
            little_endian<std::uint32_t>(1);
  }
  const std::string counts = little_endian<std::uint16_t>(static_cast<std::uint16_t>(count));
  return file + "PK\x05\x06" + std::string(4, '\0') + counts + counts +
         (zip64 ? std::string(8, '\xFF')
                : little_endian<std::uint32_t>(static_cast<std::uint32_t>(directory.size())) +
                      little_endian<std::uint32_t>(static_cast<std::uint32_t>(begin))) +
         std::string(2, '\0');
}

}  // namespace facet::test
