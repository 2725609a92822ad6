#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace facet {

/// Streaming 64-bit hash: FNV-1a, eight bytes a step for long data. For fingerprints and caches, not
/// for security.
class Hasher {
 public:
  void bytes(const void* data, std::size_t size) {
    const auto* p = static_cast<const unsigned char*>(data);
    for (; size >= 8; size -= 8, p += 8) {
      std::uint64_t word;
      __builtin_memcpy(&word, p, 8);
      mix(word);
    }
    for (; size > 0; --size, ++p) mix(*p);
  }
  void number(std::uint64_t value) { mix(value); }
  /// The length goes in first, so that "ab","c" differs from "a","bc".
  void text(std::string_view value) {
    number(value.size());
    bytes(value.data(), value.size());
  }
  std::uint64_t value() const { return state_ ^ (state_ >> 29); }

 private:
  void mix(std::uint64_t word) {
    state_ = (state_ ^ word) * 0x100000001B3u;
    state_ ^= state_ >> 32;
  }
  std::uint64_t state_ = 0xCBF29CE484222325u;
};

}  // namespace facet
